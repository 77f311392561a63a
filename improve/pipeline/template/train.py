"""Trains the pipeline of this folder and keeps its weights: `python train.py [--data DIR] [--out DIR] [--seconds N]`.

DIR holds `images.npy` (uint8, N × H × W × C) and `labels.npy` (int64, N), or one folder of images for each class.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
import traceback
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import compiling
import pytorch_lightning as pl
import ranks
import torch
from components import Components, load_components
from context import Context
from device import uses_gpu
from keeping import WEIGHTS, Keeper, save_weights
from plan import plan
from preparing import Preparation
from running import Log, Pace, Report, averaging, trainer

SMOKE_STEPS = 2  # enough to see that a loss is finite after a step


def print_report(event: dict[str, Any]) -> None:
    """One line a validation for people."""
    print(
        "  ".join(
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in event.items()
        )
    )


def fit(
    components: Components, context: Context, data_folder: Path, out: Path, report: Report, smoke: bool = False
) -> Context:
    """Train within `context.fit_seconds` (and `patience`), or for `context.steps` batches; the weights go to `out`.

    `smoke`: for two batches only. Returns the context with the epochs and steps that were planned. Raises
    `ContractError`, `NonFiniteLoss`, or whatever the components raise.
    """
    started = time.monotonic()
    torch.set_num_threads(context.threads)
    # The log is for the engineers: what they decide, not how many cores and workers there are.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*LeafSpec.*")
    warnings.filterwarnings("ignore", ".*in eval mode at the start of training.*")  # a frozen backbone is, on purpose
    warnings.filterwarnings("ignore", "ReduceLROnPlateau conditioned on metric")
    warnings.filterwarnings("ignore", "The `srun` command is available")  # on a cluster's node
    warnings.filterwarnings("ignore", ".*sync_dist=True.*")  # what is logged is of all processes already
    pl.seed_everything(context.seed, workers=True, verbose=False)
    context = context.replace(steps=SMOKE_STEPS, compile="off") if smoke else context
    preparation = Preparation(context, out, started, smoke)
    made, context = plan(components, context, data_folder, out, started, preparation)
    report = report if ranks.rank() == 0 else _silent
    report(made.event(components.batch_size()))
    pl.seed_everything(context.seed, workers=True, verbose=False)
    data, model = components.build_data(context), components.build_model(context)
    data.attach(data_folder)
    if smoke:  # no more images than it sees: features of all of them would take a while
        data.train_rows = data.train_rows[: SMOKE_STEPS * data.batch_size]
        data.validation_rows = data.validation_rows[: data.batch_size]
    preparation.apply(model, data)
    data.validation_rows = data.validation_rows[:: made.thinned]
    deadline = started + context.patience * context.fit_seconds - made.validation_seconds
    pace = Pace(made.batches, deadline, data, by_clock=not context.steps)
    keeper = Keeper(context.keep)
    log = Log(pace, made.per_epoch, keeper, report, spread=context.strategy == "fsdp")
    callbacks = [pace, log, *averaging(components.averaged(context.total_steps), context)]
    callbacks += [compiling.compile_steps(model, out)] if made.compiled == "yes" else []
    kwargs = components.trainer_kwargs(context)
    limits = {"max_epochs": made.epochs, "val_check_interval": made.interval}
    torch.manual_seed(context.seed + ranks.rank())  # each has its own luck in augmentation
    trainer(context, kwargs, callbacks, out, **limits).fit(model, datamodule=data)
    if ranks.rank() == 0:
        save_weights(keeper.kept(partial(log.weights, model)), out)
        preparation.clear()
        compiling.clear(out)
    return context


def _silent(event: dict[str, Any]) -> None:
    """What one process of a training says, the others need not say again."""


def available(context: Context) -> int:
    """The devices that a training of this context has here."""
    return max(1, min(context.devices, torch.cuda.device_count())) if uses_gpu(context) else context.devices


def main() -> None:
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="folder of the training images (default: those of the run)")
    parser.add_argument("--out", type=Path, default=here / "trained", help="where the weights go (default: trained/)")
    parser.add_argument("--seconds", type=float, help="time limit (default: the run's)")
    arguments = parser.parse_args()
    sys.path.insert(0, str(here))
    context = Context.load(here / "context.json").replace(compile="off")  # it needs no compiler
    if arguments.seconds:
        longer = max(1.0, arguments.seconds / context.fit_seconds)
        context = context.replace(fit_seconds=arguments.seconds, steps=0, longer=longer, patience=1.0)
    from class_folders import training_data

    arguments.out.mkdir(parents=True, exist_ok=True)
    folder, context = training_data(arguments.data, here, context, arguments.out)
    context = context.replace(devices=available(context), num_nodes=1)
    if context.devices == 1:
        fit(load_components(), context, folder, arguments.out, print_report)
    else:

        def body(own: Context) -> None:
            fit(load_components(), own, folder, arguments.out, print_report)

        code = ranks.run(context, arguments.out, body, traceback.print_exception)
        if code:
            sys.exit(code if code > 0 else 1)
    # Beside the weights: `predict.py --weights` reads the classes there.
    (arguments.out / "context.json").write_text(json.dumps(context.as_dict(), indent=2, ensure_ascii=False) + "\n")
    print(f"weights: {arguments.out / WEIGHTS}")


if __name__ == "__main__":
    main()
