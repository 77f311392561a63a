"""Each program under `attacks/` against each tier, and against a naive executor, where it must succeed.

A program says what is expected of each tier in its `EXPECT`: "through" (it got what it wanted), "denied", or the limit
that it was killed for. Where possible the outcome is judged from outside and not by what the program says.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import json
import os
import secrets
import signal
import site
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from improve.sandbox import Tier, choose, remove
from tests.support.paths import ATTACKS, ROOT

TIERS = ("naive", "T0", "T1", "T1-oldest", "T3")
LIMIT_OF_LOG = 1 << 20


def header(path: Path) -> dict[str, Any]:
    """The constants at the top of an attack."""
    assigned = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign)]
    found = {}
    for node in assigned:
        name = node.targets[0]
        if isinstance(name, ast.Name) and name.id in ("EXPECT", "AS_ROOT", "NEEDS", "HANGS"):
            found[name.id] = ast.literal_eval(node.value)
    if os.geteuid() == 0:
        found["EXPECT"] |= found.get("AS_ROOT", {})
    return found


PROGRAMS = {path.stem: header(path) for path in sorted(ATTACKS.glob("[a-z]*.py"))}


# where it matters how much the kernel's Landlock can do: these also run with what its first version had
OLDEST = {
    "edit_template", "find_labels", "kill_guard", "kill_parent", "list_dataset", "stash_in_shm", "unix_socket",
    "write_outside",
}  # fmt: skip
CASES = [(name, tier) for name in PROGRAMS for tier in TIERS if tier != "T1-oldest" or name in OLDEST]


class Parent:
    """The process that runs the attacks, started anew when one has killed it."""

    def __init__(self, tier: str, labels: Path, key: str) -> None:
        self._tier = tier
        self._env = {**os.environ, "TEST_LABELS": str(labels), "TEST_API_KEY": key, "PYTHONPATH": str(ROOT)}
        self._process: subprocess.Popen[str] | None = None

    def ask(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """The answer; None if the parent was killed by the attack."""
        if self._process is None:
            command = [sys.executable, str(ATTACKS / "_parent.py"), self._tier]
            self._process = subprocess.Popen(
                command,
                env=self._env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,  # an attack on its process group must not reach the tests
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if answer:
            return json.loads(answer)  # type: ignore[no-any-return]
        assert self._process.wait() == -signal.SIGKILL, "the parent failed by itself"
        self.close()
        return None

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


class World:
    """What an attack is after: labels, a dataset, a template, listening sockets; all marked with one token."""

    def __init__(self, base: Path, token: str) -> None:
        self.token = token
        self.base = base
        for folder in ("dataset/cat", "readable", "work"):
            (base / folder).mkdir(parents=True)
        self.labels = base / "labels.csv"
        self.labels.write_text(f"image,label\n1,{token}\n")
        (base / "dataset/cat/1.png").write_bytes(b"")
        self.template = base / "readable/template.py"
        self.template.write_text("the template")
        self.before = self.state()
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.unix, self.abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        self.unix.bind(str(base / "control.sock"))
        self.abstract.bind(f"\0{token}")
        for listener in (self.unix, self.abstract):
            listener.listen(1024)
        for listening in (self.unix, self.abstract, self.tcp, self.udp):
            listening.setblocking(False)

    def state(self) -> tuple[object, ...]:
        """Of the files outside: content, mode, owner and time."""
        status = self.labels.stat()
        kept = (self.labels.read_text(), status.st_mode, status.st_uid, status.st_mtime_ns)
        return (
            *kept,
            self.template.read_text(),
            sorted(os.listdir(self.template.parent)),
            os.listdir(self.base / "dataset"),
        )

    def targets(self) -> dict[str, Any]:
        """What the program is told: everything, as if it had guessed."""
        return {
            "token": self.token,
            "labels": str(self.labels),
            "dataset": str(self.base / "dataset"),
            "outside": str(self.base / "outside"),
            "readable": str(self.base / "readable"),
            "template": str(self.template),
            "work": str(self.base / "work"),
            "site_packages": site.getsitepackages()[0],
            "tcp": self.tcp.getsockname()[1],
            "udp": self.udp.getsockname()[1],
            "unix": str(self.base / "control.sock"),
            "abstract": self.token,
        }

    def reached(self) -> bool:
        """Whether anything was received from the program, or anything outside was changed."""
        got = False
        for listener in (self.tcp, self.unix, self.abstract):
            with contextlib.suppress(BlockingIOError):
                listener.accept()[0].close()
                got = True
        with contextlib.suppress(BlockingIOError):
            got |= self.token.encode() in self.udp.recv(4096)
        try:
            changed = self.state() != self.before
        except FileNotFoundError:
            changed = True
        return got or changed or (self.base / "outside").exists() or bool(self.stashes())

    def stashes(self) -> list[Path]:
        return list(Path("/dev/shm").glob(f"attack-{self.token}*"))

    def survivors(self) -> list[int]:
        """Processes that were started with this world's token and still live."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError):
                    if self.token.encode() in Path(f"/proc/{name}/cmdline").read_bytes():
                        found.append(int(name))
        return found

    def close(self) -> None:
        for pid in self.survivors():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for listening in (self.unix, self.abstract, self.tcp, self.udp):
            listening.close()
        for stash in self.stashes():
            stash.unlink()
        remove(self.base)


@pytest.fixture(scope="module")
def token() -> str:
    return f"canary{secrets.token_hex(8)}"


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory, token: str) -> Iterator[dict[str, Parent]]:
    labels = tmp_path_factory.mktemp("parent") / "open_labels"
    labels.write_text(token)
    started = {tier: Parent(tier, labels, f"sk-{token}") for tier in TIERS}
    yield started
    for parent in started.values():
        parent.close()


@pytest.fixture
def world(tmp_path: Path, token: str) -> Iterator[World]:
    made = World(tmp_path / "world", token)
    yield made
    made.close()


def unavailable(need: str | None, folder: Path) -> bool:
    """Whether this machine itself refuses what the attack uses, so that a naive executor is no proof."""
    if need == "file_flags":
        return subprocess.run(["chattr", "+d", folder]).returncode != 0
    if need == "site_packages":  # another user's, for an ordinary one
        return not os.access(site.getsitepackages()[0], os.W_OK)
    if need == "attributes":
        try:
            os.setxattr(folder, "user.test", b"")
        except OSError:
            return True
    libc = ctypes.CDLL(None)
    if need == "vsock":
        try:
            socket.socket(40, socket.SOCK_STREAM).close()
        except OSError:
            return True
    if need == "io_uring":
        descriptor = libc.syscall(425, 2, ctypes.create_string_buffer(120))
        if descriptor < 0:
            return True
        os.close(descriptor)
    if need == "namespaces":
        code = "import ctypes,sys; sys.exit(ctypes.CDLL(None).unshare(0x10000000) != 0)"
        return subprocess.run([sys.executable, "-c", code]).returncode != 0
    if need == "ptrace":
        scope = Path("/proc/sys/kernel/yama/ptrace_scope")
        return scope.exists() and scope.read_text().strip() != "0" and os.geteuid() != 0
    return False


def judge(world: World, log: Path, answer: dict[str, Any] | None) -> str:
    """What became of the attack."""
    if answer is None or world.survivors() or world.reached():
        return "through"
    if answer["killed_for"]:
        return str(answer["killed_for"])
    if world.token in answer["artifact"] or log.stat().st_size > 2 * LIMIT_OF_LOG:
        return "through"
    with open(log, errors="replace") as file:
        said = [json.loads(line) for line in file if line.startswith('{"through')]
    assert said, f"the attack said nothing: {log.read_text(errors='replace')[:2000]}"
    return "through" if said[0]["through"] else "denied"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("name", "tier"), CASES)
def test_attack(name: str, tier: str, parents: dict[str, Parent], world: World, tmp_path: Path) -> None:
    facts = PROGRAMS[name]
    expected = facts["EXPECT"][tier.partition("-")[0]]
    if expected == "through" and unavailable(facts.get("NEEDS"), tmp_path):
        pytest.skip(f"this machine itself refuses {facts['NEEDS']}")
    log = tmp_path / "log"
    answer = parents[tier].ask(
        {
            "program": str(ATTACKS / f"{name}.py"),
            "world": world.targets(),
            "log": str(log),
            "seconds": 1 if facts.get("HANGS") else 20,
            "again": name == "leave_symlink",
        }
    )
    assert judge(world, log, answer) == expected


def test_the_strongest_tier_works_here() -> None:
    """A machine that runs the tests has it (T1 is tried above): a tier that cannot start is a failure, not a skip."""
    assert choose("require").tier is Tier.T3


def test_expectations_get_stricter_with_the_tier() -> None:
    for name, facts in PROGRAMS.items():
        expect = facts["EXPECT"]
        assert expect["naive"] == "through", name
        assert expect["T3"] != "through", name
        assert not (expect["T0"] != "through" and expect["T1"] == "through"), name
