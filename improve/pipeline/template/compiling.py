"""`torch.compile` for a training: on where it has been tried out and more steps fit in the time limit with it.

Only the steps are compiled, once, in the first of them: where the network changes later (other sizes, other layers
frozen) and in validations it runs as it is written, so that nothing is ever compiled in the midst of a training.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import pytorch_lightning as pl
import torch
from context import Context
from pytorch_lightning.callbacks import Callback
from torch import nn

CHOICES = ("off", "auto", "on")
FOLDER = "compiled"  # in the work folder: what compilers leave
# Of the time limit that trying may take: where nobody knows whether it pays, and where it is asked for.
AUTO_SHARE, ON_SHARE = 0.05, 0.5
LEAST_GAIN = 1.05  # times as many steps; less may be the luck of a measurement
AGAIN = 1.0  # seconds after which what takes too long is interrupted once more, where that was swallowed

T = TypeVar("T")


class TooLong(Exception):
    """Compiling has taken as long as it may."""


class Compiled(Callback):
    """Has the first step compiled and those that are like it use that; all else runs as it is written."""

    def __init__(self) -> None:
        self.begun = False

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        _stance("default")

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, batch: Any, i: int
    ) -> None:
        if not self.begun:
            self.begun = True
            _stance("eager_on_recompile")

    def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        _stance("force_eager")

    def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        _stance("eager_on_recompile")

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        _stance("default")

    def on_exception(self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException) -> None:
        _stance("default")


def _stance(name: str) -> None:
    torch.compiler.set_stance(name)  # type: ignore[arg-type]  # one of its names


def compile_steps(model: nn.Module, out: Path) -> Compiled:
    """Have a model's steps compiled, in place, so that the names of its weights stay; the callback goes with it.

    What compilers write goes to `out`.
    """
    folder = out / FOLDER
    folder.mkdir(exist_ok=True)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # that a machine has no CUDA is no news
    import torch._inductor.config as inductor

    # No pool of processes for what is a few files. That the processor and the compiler know an instruction set is not
    # looked up by importing torch anew: if they do not, the trial fails.
    inductor.compile_threads = 1
    inductor.cpp.vec_isa_ok = True
    # Headers are compiled once, which halves the time, if there is the program that torch has digest them.
    inductor.cpp_cache_precompile_headers = shutil.which("openssl") is not None
    model.compile()
    return Compiled()


def clear(out: Path) -> None:
    """Remove what compilers have left."""
    shutil.rmtree(out / FOLDER, ignore_errors=True)


def tried(attempt: Callable[[], T], context: Context) -> T | None:
    """What trying a compiled training out gave; None if that failed or took too long, which is said in the log.

    The same training went well without: whatever is raised here is the compiler's matter, not its components'.
    """
    limit = (ON_SHARE if context.compile == "on" else AUTO_SHARE) * context.fit_seconds
    began = time.monotonic()
    try:
        with within(limit):
            return attempt()
    except Exception as error:  # noqa: BLE001  # see above; the training goes on without
        late = time.monotonic() - began >= limit
        said = f"it took longer than {limit:.0f} s" if late else f"{type(error).__name__}: {str(error).strip()[:500]}"
        print(f"torch.compile: not used, {said}", flush=True)
        _stance("default")
        torch.compiler.reset()
        return None


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise `TooLong` after so many seconds in what goes on here. For the main thread, as all signals are."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
