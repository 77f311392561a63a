"""Picks the tier: tries each one for real, with a program inside that attempts what it must not be able to do."""

from __future__ import annotations

import json
import logging
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from improve.errors import SandboxError
from improve.sandbox.guard import selfcheck
from improve.sandbox.guarded import LandlockSandbox, PlainSandbox
from improve.sandbox.sandbox import Sandbox
from improve.sandbox.tier3 import BubblewrapSandbox
from improve.sandbox.values import Launch, Limits, Tier

_log = logging.getLogger(__name__)

_PROBE_SECONDS: Final = 30.0
# As many processes as a pipeline may have: with less, it would be the first to suffer from a fork bomb beside it.
_PROBE_LIMITS: Final = Limits(memory_bytes=1 << 30, disk_bytes=1 << 24, output_bytes=1 << 16)
_ALLOW_NAMESPACES: Final = (
    "allow user namespaces (sysctl kernel.unprivileged_userns_clone=1 "
    "kernel.apparmor_restrict_unprivileged_userns=0; in a container: "
    "--security-opt seccomp=unconfined --security-opt apparmor=unconfined, as root also --cap-add SYS_ADMIN)"
)


def choose(mode: str) -> Sandbox:
    """The sandbox for a run. "require": T3 or `SandboxError`; "auto": the best that works, T0 with a warning;
    "off": T0."""
    if mode not in ("require", "auto", "off"):
        raise ValueError(f"mode {mode!r} is none of require, auto, off")
    if mode == "off":
        return _plain(f"set sandbox=auto ({Tier.T3.value})")
    strong = BubblewrapSandbox()
    problem = prove(strong)
    if problem is None:
        return strong
    if mode == "require":
        raise SandboxError(f"sandbox=require, but tier T3 does not work here. {problem.what}", problem.fix)
    how = f"T3: {problem.what} Fix: {problem.fix}"
    middle = LandlockSandbox()
    second = prove(middle)
    if second is None:
        middle.how_to_improve = how
        return middle
    return _plain(f"{how}\nT1: {second.what} Fix: {second.fix}")


def _plain(how: str) -> Sandbox:
    sandbox = PlainSandbox()
    sandbox.how_to_improve = how
    _log.warning("Generated code is NOT confined on this machine: %s. Scores are unverified. %s", Tier.T0.value, how)
    return sandbox


def prove(sandbox: Sandbox) -> SandboxError | None:
    """Run the self-check in the sandbox. None if it holds, else why not."""
    missing = sandbox.missing()
    if missing is not None:
        return missing
    with tempfile.TemporaryDirectory(prefix="improve-probe-") as folder, _bystander() as bystander:
        try:
            report = _try(sandbox, Path(folder).resolve(), bystander)
        except SandboxError as problem:
            return SandboxError(problem.what, _ALLOW_NAMESPACES)
        if bystander.process.poll() is not None:
            report["signal"] = True
        return _judge(sandbox.tier, report, bystander.secret)


class _Bystander(NamedTuple):
    """A process outside with a secret in its environment."""

    process: subprocess.Popen[bytes]
    secret: str


@contextmanager
def _bystander() -> Iterator[_Bystander]:
    secret = secrets.token_hex(16)
    process = subprocess.Popen(["sleep", "60"], env={"PATH": os.defpath, "SECRET": secret})
    try:
        yield _Bystander(process, secret)
    finally:
        process.kill()
        process.wait()


def _try(sandbox: Sandbox, folder: Path, bystander: _Bystander) -> dict[str, Any]:
    """The self-check's report. Raises `SandboxError` if there is none."""
    folder.chmod(0o755)
    (folder / "secret").write_text(bystander.secret)
    (folder / "secret").chmod(0o644)
    work = folder / "work"
    work.mkdir()
    outside = folder / "outside"
    targets = {"secret": f"{folder}/secret", "outside": str(outside), "work": str(work), "pid": bystander.process.pid}
    program = Path(selfcheck.__file__)
    source, sink = os.pipe()
    with os.fdopen(source, "rb") as answers:
        try:
            launch = Launch(
                argv=[sys.executable, "-I", "-S", str(program), json.dumps(targets), str(sink)],
                readable=[program],
                writable=[work],
                cwd=work,
                env={"PATH": os.defpath},
                limits=_PROBE_LIMITS,
                pass_fds=[sink],
            )
            confined = sandbox.start(launch, folder / "log")
        finally:
            os.close(sink)
        with confined:
            code = confined.wait(_PROBE_SECONDS)
        answer = answers.read()
    if code is None or not answer:
        said = (folder / "log").read_text(errors="replace").strip()
        raise SandboxError(f"The self-check of tier {sandbox.tier.name} did not finish (exit code {code}): {said}")
    return {**json.loads(answer), "outside": outside.exists()}


def _judge(tier: Tier, report: dict[str, Any], secret: str) -> SandboxError | None:
    useless = [name for name in ("work", "scratch", "unix") if not report[name]]
    if useless:
        return SandboxError(f"In tier {tier.name} programs cannot use: {', '.join(useless)}.", _ALLOW_NAMESPACES)
    broken = [name for name in ("outside", "inet", "signal") if report.get(name)]
    broken += [name for name in ("secret", "environment") if secret in report[name]]
    if tier.verified and broken:
        text = f"Tier {tier.name} does not hold on this machine; the self-check got through: {', '.join(broken)}."
        return SandboxError(text, "use another kernel or container runtime")
    return None
