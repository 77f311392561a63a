"""The template's training against a plain loop; what layouts, precisions and compiling are worth on this processor.

By hand: python benchmarks/fit.py [--rounds 5] [--steps 60] [--compile]

Both train the same network on the same images, with the same augmentation and optimiser, on one thread of one process,
in turn; what is compared are the processor's seconds of a step, so that a busy machine changes little. The template's
steps are those of `train.fit`, from the end of one to the end of the next: loader, hooks, callbacks and schedule are in
it. The plain loop is a `for` over the same batches. `--compile`: instead, that loop with and without `torch.compile`,
in turns, compiled as the template does it, and what compiling took of the processor.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import numpy as np

from improve.pipeline.export import TEMPLATE

WARM_UP = 5  # steps that are not counted
DATA = """
from template import ImageDataModule
class DataModule(ImageDataModule):
    flip = True
"""
SMALL = """
from template import ImageClassifier, conv_block
from torch import nn
class Model(ImageClassifier):
    def __init__(self, context):
        super().__init__(context)
        self.body = nn.Sequential(conv_block(16), conv_block(32, stride=2), conv_block(64, stride=2))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, context.num_classes))
    def forward(self, images):
        return self.head(self.body(images))
"""
LITE = """
import timm
from template import ImageClassifier
class Model(ImageClassifier):
    def __init__(self, context):
        super().__init__(context)
        self.network = timm.create_model("tf_efficientnet_lite0", num_classes=context.num_classes)
    def forward(self, images):
        return self.network(images)
"""
TRAINING = """
import torch
batch_size = 64
def trainer_kwargs(context):
    return {}
def configure_optimizers(model, context):
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=context.total_steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
"""
NETWORKS = {"a small one, 32 px": (SMALL, 32), "EfficientNet-Lite0, 64 px": (LITE, 64)}


class Bench:
    """One network and its images, trained by both."""

    def __init__(self, name: str, folder: Path, steps: int) -> None:
        source, side = NETWORKS[name]
        chance = np.random.default_rng(0)
        count = 64 * steps + 640
        np.save(folder / "images.npy", chance.integers(0, 256, (count, side, side, 3), dtype=np.uint8))
        np.save(folder / "labels.npy", chance.integers(0, 10, count))
        parts = {"data": DATA, "model": source, "training": TRAINING}
        modules = {part: _module(part, text) for part, text in parts.items()}
        self.parts = _of("components").Components(**modules)
        self.folder, self.steps = folder, steps
        self.context = _of("context").Context(
            classes=tuple("abcdefghij"), height=side, width=side, channels=3, mean=(0.5,) * 3, std=(0.25,) * 3,
            train_images=count, images_per_class=(count // 10,) * 10, steps=steps, threads=1, accelerator="cpu",
        )  # fmt: skip

    def template(self) -> float:
        """The processor's seconds of a step in `train.fit`."""
        moments: list[float] = []
        kind = self.parts.model.Model

        class Timed(kind):  # type: ignore[misc, valid-type]
            def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
                moments.append(time.process_time())

        self.parts.model.Model = Timed
        try:
            _of("train").fit(self.parts, self.context, self.folder, self.folder, lambda event: None)
        finally:
            self.parts.model.Model = kind
        return float(np.mean(np.diff(moments)[WARM_UP:]))

    def compiling(self) -> float:
        """The processor's seconds, of this process and the compilers that it starts, of a loop that compiles first."""
        before = os.times()
        self.plain(compiled=True)
        after = os.times()
        return sum(after[:4]) - sum(before[:4])

    def plain(self, channels_last: bool = True, bf16: bool = False, compiled: bool = False) -> float:
        """The processor's seconds of a step in a loop of its own."""
        import torch

        context = self.context.replace(planned_steps=self.steps)
        model, data = self.parts.build_model(context), self.parts.build_data(context)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        model.to(memory_format=layout).train()
        if compiled:
            _of("compiling").compile_steps(model, self.folder)
        data.attach(self.folder)
        made = self.parts.training.configure_optimizers(model, context)
        optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
        moments: list[float] = []
        for images, targets in data.train_dataloader():
            turned = torch.rand(len(images)) < 0.5
            images = torch.where(turned[:, None, None, None], images.flip(3), images).contiguous(memory_format=layout)
            with _precision(bf16):
                logits = model(images)
            loss = torch.nn.functional.cross_entropy(logits.float(), targets)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            moments.append(time.process_time())
            if len(moments) == self.steps:
                break
        return float(np.mean(np.diff(moments)[WARM_UP:]))


def _precision(bf16: bool) -> AbstractContextManager[Any]:
    import torch

    return torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else nullcontext()


def _of(module: str) -> Any:
    """A module of the template, which its files call by its bare name."""
    return importlib.import_module(module)


def _module(name: str, source: str) -> ModuleType:
    module = ModuleType(name)
    exec(source, module.__dict__)
    return module


def compare_compiled(name: str, bench: Bench, rounds: int) -> None:
    spent = bench.compiling()  # with a few steps, which are taken off again
    pairs = [(bench.plain(), bench.plain(compiled=True)) for _ in range(rounds)]
    ratios = sorted(plain / compiled for plain, compiled in pairs)
    print(f"{name}: {1000 * median(p for p, _ in pairs):.1f} CPU-ms a step, ", end="")
    print(f"{1000 * median(c for _, c in pairs):.1f} compiled: {median(ratios):.2f} times as fast ", end="")
    steps = bench.steps * median(c for _, c in pairs)
    print(f"({ratios[0]:.2f} to {ratios[-1]:.2f}), for {spent - steps:.0f} CPU-seconds of compiling", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    sys.path.insert(0, str(TEMPLATE))
    import torch

    torch.set_num_threads(1)
    for name in NETWORKS:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(name, Path(folder), arguments.steps)
            if arguments.compile:
                compare_compiled(name, bench, arguments.rounds)
                continue
            rounds = [(bench.template(), bench.plain()) for _ in range(arguments.rounds)]
            ratios = sorted(plain / template for template, plain in rounds)
            print(f"{name}: {1000 * median(t for t, _ in rounds):.1f} CPU-ms a step by the template, ", end="")
            print(f"{1000 * median(p for _, p in rounds):.1f} by a plain loop; the template has ", end="")
            print(f"{median(ratios):.2f} of its speed ({ratios[0]:.2f} to {ratios[-1]:.2f})", flush=True)
            ways = {"contiguous": (False, False), "channels-last": (True, False), "channels-last, bf16": (True, True)}
            told = {way: median(bench.plain(*how) for _ in range(3)) for way, how in ways.items()}
            print(
                "  a step: " + ", ".join(f"{way} {1000 * spent:.1f} CPU-ms" for way, spent in told.items()), flush=True
            )


if __name__ == "__main__":
    main()
