"""Errors for people: what is wrong, where, and how to fix it; printed without a traceback.

Anything that is not an `ImproveError` is a bug and keeps its whole traceback. Each class has an exit code of
its own, so that a script around `improve` can tell the cases apart.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ImproveError(Exception):
    """A mistake or a situation that its reader can mend. `fix` is the command or the step that mends it."""

    exit_code = 1

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}\n  fix: {self.fix}" if self.fix else self.what


class ConfigError(ImproveError):
    """An unknown option or key, or values that do not go together."""

    exit_code = 2


class DataError(ImproveError):
    """The images cannot be used as they are."""

    exit_code = 3


class LLMError(ImproveError):
    """The language model cannot be asked: no key, refused, or out of reach."""

    exit_code = 4


class SandboxError(ImproveError):
    """Generated code cannot be confined as the configuration demands."""

    exit_code = 5


class ResumeError(ImproveError):
    """The run's folder is in use, damaged, or belongs to another configuration."""

    exit_code = 6


class InUse(ResumeError):
    """Another process works on the run."""


class RunChanged(ResumeError):
    """What decides the run's steps is not what it was when the run began: its settings, its images, our own code."""


class RunFailed(ImproveError):
    """The run ended without any pipeline that could be scored."""

    exit_code = 7


class BudgetError(ImproveError):
    """The budget does not suffice for a first scored pipeline; nothing is lost, a larger one goes on."""

    exit_code = 8


class DiskFull(ImproveError):
    """Nothing more can be written. What is done is kept, and the same command goes on with it."""

    exit_code = 9


class ClusterError(ImproveError):
    """The cluster on which trainings run cannot be used; what is done is kept, and the same command goes on."""

    exit_code = 10


class RunsFailed(ImproveError):
    """Runs of a study failed; the others went on. Its exit code is the highest of theirs."""

    def __init__(self, what: str, fix: str, exit_code: int) -> None:
        super().__init__(what, fix)
        self.exit_code = exit_code


class Interrupted(BaseException):
    """Somebody asked the run to stop (SIGINT: exit code 130, SIGTERM: 143). Not an error: nothing is wrong."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)  # so that it can be pickled: runs of a study may be in other processes
        self.exit_code = 128 + signal_number


def nearest(name: str, valid: Iterable[str]) -> str:
    """A sentence that names the options closest to `name`, or all of them: "did you mean …? (valid: …)"."""
    options = sorted(set(valid))
    close = difflib.get_close_matches(name, options, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    return f"{hint}(valid: {', '.join(options)})"
