"""How this program was started, and so how the commands begin that it prints: each can be pasted in the same place."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from improve.config.places import CHECKOUT

STARTED_AS = "IMPROVE_STARTED_AS"  # how a run is started, in the shell's words: set by scripts/run.sh
COMMANDS = (
    "run", "data", "predict", "export", "report", "view", "verify", "keys", "doctor", "prompts", "cassette", "theory",
)  # fmt: skip
DISTRIBUTION = "improve-classifier"
_typed: list[str] = []  # the arguments of the run or study that this process was started for


def remember(arguments: Sequence[str]) -> None:
    """Note what a run was started with, so that the same can be said again."""
    _typed[:] = arguments
    # For the processes that Hydra's launchers start: their commands begin like this one's.
    os.environ.setdefault(STARTED_AS, run_command())


def typed() -> tuple[str, ...]:
    """What this process was started with."""
    return tuple(_typed)


def same_again(*more: str) -> str:
    """The command that this process was started by, with further settings instead of its own for the same keys."""
    replaced = tuple(f"{setting.partition('=')[0]}=" for setting in more)
    kept = [argument for argument in _typed if not (replaced and argument.startswith(replaced))]
    return run_command(*kept, *more)


def run_command(*arguments: str) -> str:
    """The command that starts a run with these arguments."""
    return _command(_run(), arguments)


def command(*arguments: str) -> str:
    """The command `improve ARGUMENTS…`: `command("predict", "RUN", "IMAGES")`."""
    return _command(shlex.join(_improve()), arguments)


def module_command(module: str, *arguments: str) -> str:
    """The command `python -m MODULE ARGUMENTS…` with the interpreter of this program."""
    return _command(shlex.join([*_python(), "-m", module]), arguments)


def typed_settings(group: str) -> list[str]:
    """Of what this process was started with, what concerns this group of keys."""
    return [setting for setting in _typed if setting.startswith((f"{group}=", f"{group}."))]


def install_command(*requirements: str) -> str:
    """The command that adds packages to the environment of this program, with the installer that is there."""
    python = _short(Path(sys.executable))
    uv = shutil.which("uv") or shutil.which(CHECKOUT / ".uv" / "bin" / "uv")
    if importlib.util.find_spec("pip"):
        return shlex.join([python, "-m", "pip", "install", *requirements])
    if uv:
        uv = "uv" if shutil.which("uv") else _short(Path(uv))
        return shlex.join([uv, "pip", "install", "--python", python, *requirements])
    pip = shlex.join([python, "-m", "pip", "install", *requirements])
    return f"{shlex.join([python, '-m', 'ensurepip'])} && {pip}"


def own_python() -> str:
    """The Python of this program, as a shell takes it here."""
    return shlex.quote(_short(Path(sys.executable)))


def install_extra(extra: str) -> str:
    """The command that adds what an extra of this project asks for ("wandb", "hub", "kaggle")."""
    from packaging.requirements import Requirement  # seldom needed

    try:
        given = map(Requirement, requires(DISTRIBUTION) or [])
    except PackageNotFoundError:
        return install_command("-e", f"{_short(CHECKOUT)}[{extra}]")
    return install_command(
        *(
            f"{one.name}{one.specifier}"
            for one in given
            if one.marker and one.marker.evaluate({"extra": extra}) and not one.marker.evaluate({"extra": ""})
        )
    )


def _command(start: str, arguments: tuple[str, ...]) -> str:
    return f"{start} {shlex.join(arguments)}" if arguments else start


def _run() -> str:
    given = os.environ.get(STARTED_AS)
    if given:
        return given
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.name == "improve.run":
        return shlex.join([*_python(), "-m", "improve.run"])
    return shlex.join([*_improve(), "run"])


def script_command(name: str, *arguments: str) -> str:
    """A program of another package in this environment, with arguments, as a shell takes it here."""
    script = Path(sys.executable).with_name(name)
    if not os.access(script, os.X_OK):
        return shlex.join([name, *arguments])
    return shlex.join([*_uv_run(), name if _is_found(name, script) else _short(script), *arguments])


def _improve() -> list[str]:
    script = Path(sys.executable).with_name("improve")
    if not os.access(script, os.X_OK):
        return [*_python(), "-m", "improve.cli"]
    return [*_uv_run(), "improve" if _is_found("improve", script) else _short(script)]


def _python() -> list[str]:
    """The interpreter as it was typed, where that names this one."""
    typed, own = sys.orig_argv[0], Path(sys.executable)
    if os.sep in typed or _is_found(typed, own):
        return [*_uv_run(), typed]
    return [_short(own)]


def _uv_run() -> list[str]:
    """`uv run` gives its program a PATH that the shell does not have."""
    return ["uv", "run"] if os.environ.get("UV_RUN_RECURSION_DEPTH") else []


def _is_found(name: str, program: Path) -> bool:
    """Whether a shell finds this very program under its bare name."""
    # No links are followed: the python of a virtual environment is one to the python that it was made with.
    found = shutil.which(name)
    return found is not None and os.path.abspath(found) == os.path.abspath(program)


def _short(path: Path) -> str:
    """A path as it is typed in the present folder, if it lies below."""
    if not path.is_relative_to(Path.cwd()):
        return str(path)
    short = str(path.relative_to(Path.cwd()))
    return short if os.sep in short else f".{os.sep}{short}"
