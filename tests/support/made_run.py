"""A run's folder as a run would leave it, made up: a real journal with real records, and the files that they name.

`python -m tests.support.made_run FOLDER [CLASSES]` writes one to look at.
"""

from __future__ import annotations

import hashlib
import math
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from improve.record.journal import JOURNAL, Journal, Record, lines

DATA = '''"""Images as they are, with small shifts."""
from template import ImageDataModule
import torchvision.transforms.v2 as T


class DataModule(ImageDataModule):
    def train_transform(self):
        return T.Compose([T.RandomAffine(0, translate=(0.06, 0.06))])

    def eval_transform(self):
        return T.Identity()
'''
MODEL = '''"""A small residual net."""
import torch
from template import ImageClassifier
from torch import nn


class Model(ImageClassifier):
    def __init__(self, context):
        super().__init__(context)
        width = 32
        self.body = nn.Sequential(
            nn.Conv2d(context.channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )
        self.head = nn.Linear(2 * width, context.classes)

    def forward(self, x):
        return self.head(self.body(x))
'''
TRAINING = '''"""AdamW with a one-cycle schedule."""
import torch

batch_size = 128


def trainer_kwargs(context):
    return {"max_epochs": 5}


def configure_optimizers(model, context):
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=context.steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
'''


READ_BY_PROGRAMS = ("verdict", "which", "folder", "file", "changed", "protocol", "severity", "code", "samples")


@dataclass
class Step:
    """One iteration of the story: what it changes, the verdict, correct answers of 2,000, what people read."""

    component: str
    verdict: str
    correct: int | None
    summary: str
    feedback: str = ""
    reason: str = ""
    repairs: tuple[str, ...] = ()


STORY = (
    Step("", "accepted", 1224, "The first pipeline reaches 61.2%: a small net, trained for five epochs."),
    Step(
        "model",
        "accepted",
        1342,
        "A wider net with a second residual stage learns more in the same time.",
        "Training and validation accuracy rise together and are still low: the net underfits. Make it wider and add "
        "a stage of residual blocks; keep batch norm.",
    ),
    Step(
        "data",
        "rejected",
        1251,
        "Random flips turn one orientation into another: accuracy fell.",
        "The net starts to overfit. Add stronger augmentation.",
    ),
    Step(
        "training",
        "accepted",
        1566,
        "Twelve epochs with a one-cycle schedule use the time that was left over.",
        "Only 40% of the time limit is used and the loss still falls: train for longer, with a warm-up.",
    ),
    Step(
        "training",
        "rejected (within noise)",
        1569,
        "Label smoothing changed almost nothing.",
        "Confidence is too high for the accuracy reached. Try label smoothing of 0.1.",
        repairs=("contract",),
    ),
    Step("model", "failed", None, "", "A ConvNeXt block might see more context.", reason="timeout"),
    Step(
        "data",
        "accepted",
        1621,
        "Shifts by up to two pixels made the net less sensitive to position.",
        "Objects move; small random shifts would help more than flips.",
    ),
    Step(
        "model", "failed", None, "", "Use squeeze-and-excitation.", reason="shape", repairs=("shape", "shape", "shape")
    ),
    Step(
        "training",
        "rejected (within noise)",
        1618,
        "Weight averaging gave the same result.",
        "Average the weights over the last epochs.",
    ),
)


@dataclass
class Maker:
    """Writes a run. `poison` is appended to every text that a model or generated code could have written."""

    folder: Path
    classes: int = 10
    poison: str = ""
    story: tuple[Step, ...] = STORY
    planned: int = 8
    llm: str = "offline"
    usd: float | None = 0.0
    verified: bool = True
    protocol: str = ""
    sources: dict[int, dict[str, str]] = field(default_factory=dict)
    rng: random.Random = field(default_factory=lambda: random.Random(0))

    def records(self) -> Iterator[tuple[str, str, dict[str, Any], float]]:
        """(key, kind, data, seconds) of every step, in order; with `poison` at the end of every text."""
        for key, kind, data, seconds in self._records():
            yield key, kind, poisoned(data, self.poison), seconds

    def _records(self) -> Iterator[tuple[str, str, dict[str, Any], float]]:
        yield "run", "run", self._run(), 0.4
        yield "audit-data", "audit_data", self._data_audit(), 0.1
        best, first = None, True
        for role in ("architect", "data_engineer", "model_engineer", "training_engineer"):
            yield self._call(role, 0, 0)
        for number, step in enumerate(self.story):
            yield from self._iteration(number, step, best)
            if step.verdict == "accepted":
                best = number
            yield from self._ending(number, step, best)
        for which, number in (("first", 0), ("best", best or 0)):
            yield f"test-{which}", "test", self._test(which, number, 0.60 if first else 0.80), 2.0
            first = False
        finished = {
            "reason": "all iterations done",
            "best": best,
            "tokens": {"input": 1, "output": 1},
            "usd": self.usd,
            "total_seconds": 203.5,
        }
        yield "finished", "finished", finished, 0.0

    def write(self, stop_before: str = "") -> Path:
        """Write the folder; the journal ends before the step of that key, as if the run had been killed there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
        records = []
        for key, kind, data, seconds in self.records():
            if key == stop_before:
                break
            at += timedelta(seconds=seconds)
            records.append(Record(key, kind, data, at.isoformat(timespec="milliseconds"), seconds))
        (self.folder / JOURNAL).write_text("".join(lines(records)), encoding="utf-8")
        return self.folder

    def replay(self, *listeners: Callable[[Record], None], pace: float = 0.0) -> None:
        """Go through the steps with a real journal, as a run does, and tell the listeners of each.

        `pace`: how many seconds one second of the made-up run takes.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        journal = Journal(self.folder)
        journal.listeners.extend(listeners)
        try:
            for key, kind, data, seconds in self.records():
                journal.once(key, kind, partial(_take, data, pace * seconds))
        finally:
            journal.close()

    def _run(self) -> dict[str, Any]:
        offline = self.llm == "offline"
        name = "dsprites_orientation" if self.classes == 40 else "shapes"
        names = [f"{360 * i / self.classes:.0f}°" if self.classes == 40 else f"class {i}" for i in range(self.classes)]
        config: dict[str, Any] = {
            "llm": {"name": self.llm, "model": "offline/expert" if offline else f"openai/{self.llm}"},
            "dataset": {"name": name, "source": "dsprites", "image_size": 32, "description": ""},
            "strategy": {"name": "iterative", "iterations": self.planned, "repairs": 2},
            "acceptance": {"rule": "paired", "alpha": 0.2},
            "sandbox": {"mode": "auto"},
            "seed": 0,
        }
        if self.protocol:
            config["protocol"] = self.protocol
        return {
            "name": f"{name}-iterative-{self.llm}-seed0-ab12cd",
            "config": config,
            "versions": {"improve": "0.1.0", "python": "3.11.2", "torch": "2.15.0", "pytorch-lightning": "2.6.6"},
            "hardware": "2 × Intel Xeon, no GPU",
            "commit": "0123456789abcdef0123456789abcdef01234567+dirty",
            "tier": "T3" if self.verified else "T0",
            "tier_description": "bubblewrap: own namespaces, minimal root, seccomp"
            if self.verified
            else "no isolation",
            "verified": self.verified,
            "dataset": {
                "name": name,
                "class_names": names,
                "counts": {"train": 8000, "selection": 2000, "test": 4000},
                "fingerprint": "5f1d7a84db00d2fce00b31a7fc73224c",
            },
            "card": (
                f"Images: 8,000 training, 2,000 selection, 4,000 test. Size 32 × 32, 1 channel (grey).\n"
                f"Classes: {self.classes}, balanced (200 training images each).\n"
                "Description: white shapes on black; the class is the orientation of the shape."
            ),
            "notes": ["llm=offline is a rule-based expert, no language model"] if offline else [],
        }

    def _data_audit(self) -> dict[str, Any]:
        found = [
            ("near_leakage", "stop", "test images that nearly equal a training image: 3,000 of 6,000", "group them"),
            ("imbalance", "warning", "the commonest class has 12 times the images of the rarest", "look closely"),
            ("unused", "note", "images that are not used: 20", ""),
        ]
        findings = [
            {"code": code, "severity": severity, "what": what, "fix": fix, "examples": [f"{code}/a.png = b.png"]}
            for code, severity, what, fix in found
        ]
        names = self._run()["dataset"]["class_names"][:3]
        classes = [
            {"name": name, "images": 200, "file": self._shapes(f"samples/class-{number:02}.png", 6)}
            for number, name in enumerate(names)
        ]
        return {"findings": findings, "accepted": ["near_leakage"], "classes": classes}

    def _shapes(self, file: str, count: int) -> str:
        image, drawn = Image.new("L", (66 * count - 2, 64)), random.Random(file)
        for number in range(count):
            left = 66 * number + drawn.randrange(30)
            ImageDraw.Draw(image).ellipse((left, 20, left + 30, 20 + drawn.randrange(10, 40)), fill=255)
        (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
        image.save(self.folder / file)
        return file

    def _call(self, role: str, number: int, attempt: int) -> tuple[str, str, dict[str, Any], float]:
        file = f"calls/{number:03}-{role}-{attempt}.txt"
        reply = f"(reply of the {role} in iteration {number})\n" + MODEL
        self._file(
            file, f"=== system\nYou are the {role}.\n\n=== user\nThe dataset card …\n\n=== reply\n{reply}{self.poison}"
        )
        data = {
            "role": role, "iteration": number, "attempt": attempt, "model": f"{self.llm}/expert",
            "request": hashlib.sha256(file.encode()).hexdigest(), "reply": reply, "finish_reason": "stop",
            "tokens": {"input": 2100 + 40 * number, "cached": 900, "reasoning": 0, "output": 480},
            "usd": self.usd, "call_seconds": 0.2, "replay": "", "file": file,
        }  # fmt: skip
        return f"llm-{number}-{role}-{attempt}", "llm", data, 0.2

    def _iteration(self, number: int, step: Step, best: int | None) -> Iterator[tuple[str, str, dict[str, Any], float]]:
        if number:
            yield self._call("analyst", number, 0)
            seen = f"The log of iteration {best} says where it is weak."
            proposal = {
                "iteration": number, "component": step.component, "diagnosis": seen, "feedback": step.feedback
            }  # fmt: skip
            yield f"proposal-{number}", "proposal", proposal, 0.0
            yield self._call(f"{step.component}_engineer", number, 0)
        folder = f"candidates/{number:03}"
        self._candidate(folder, number, best, step)
        hashes = {
            name: hashlib.sha256(f"{name}{number}".encode()).hexdigest() for name in ("data", "model", "training")
        }
        changed = [step.component] if number else ["data", "model", "training"]
        candidate = {"iteration": number, "parent": best, "changed": changed, "hashes": hashes, "folder": folder}
        for attempt, reason in enumerate(step.repairs):
            yield f"check-{number}-{attempt}", "check", self._check(number, attempt, step, reason), 3.1
            if attempt < 2:
                yield self._call(f"{step.component}_engineer", number, attempt + 1)
        yield f"candidate-{number}", "candidate", candidate, 0.0
        if len(step.repairs) < 3:
            attempt = len(step.repairs)
            yield f"check-{number}-{attempt}", "check", self._check(number, attempt, step, ""), 3.4

    def _ending(self, number: int, step: Step, best: int | None) -> Iterator[tuple[str, str, dict[str, Any], float]]:
        failure = self._failure(step.reason, step) if step.reason else None
        if len(step.repairs) < 3:
            training = {
                "iteration": number,
                "failure": failure,
                "fit_seconds": 14.0 + number,
                "epochs": 12,
                "rows": [{"epoch": epoch + 1, "train_loss": 3.6 * 0.8**epoch} for epoch in range(12)],
                "train_accuracy": 0.81,
                "validation_accuracy": 0.73,
                "samples": self._shapes(f"samples/augmented-{number:03}.png", 8)
                if step.component in ("", "data")
                else None,
                "samples_note": "",
            }
            yield f"training-{number}", "training", training, 16.0 + number
        if step.correct is not None:
            yield f"score-{number}", "score", self._score(number, step.correct), 2.2
            audit = {"iteration": number, "images": 200, "differing": 0, "flagged": False, "note": "the same answers"}
            yield f"audit-{number}", "audit", audit, 0.9
        wins, losses = 0, 0
        if step.correct is not None and best is not None and number:
            gained = step.correct - (self.story[self._before(number)].correct or 0)
            wins, losses = 70 + max(0, gained), 70 + max(0, -gained)
        verdict = {
            "iteration": number, "component": step.component, "verdict": step.verdict,
            "wins": wins, "losses": losses, "incumbent": best,
            "note": f"{step.reason}: the training was stopped" if step.reason else "exact McNemar test",
            "p_value": p_value(wins, losses) if wins else None,
        }  # fmt: skip
        yield f"verdict-{number}", "verdict", verdict, 0.0
        yield self._call("summarizer", number, 0)
        yield f"summary-{number}", "summary", {"iteration": number, "text": step.summary}, 0.0

    def _before(self, number: int) -> int:
        """The iteration of the incumbent that iteration `number` revised."""
        return max(n for n, step in enumerate(self.story[:number]) if step.verdict == "accepted")

    def _failure(self, reason: str, step: Step) -> dict[str, Any]:
        return {
            "reason": reason, "message": f"the {step.component or 'pipeline'} component failed",
            "component": step.component or None,
            "detail": ('Traceback (most recent call last):\n  File "model.py", line 21, in forward\n'
                                 "RuntimeError: mat1 and mat2 shapes cannot be multiplied (8x64 and 128x40)"),
        }  # fmt: skip

    def _check(self, number: int, attempt: int, step: Step, reason: str) -> dict[str, Any]:
        failure = self._failure(reason, step) if reason else None
        return {"iteration": number, "attempt": attempt, "component": step.component or "all", "failure": failure}

    def _score(self, number: int, correct: int) -> dict[str, Any]:
        low, high = wilson(correct, 2000)
        return {"iteration": number, "failure": None, "correct": correct, "total": 2000, "accuracy": correct / 2000,
                "low": low, "high": high, "predictions": f"predictions/{number:03}.npy", "sha256": "0" * 64,
                "predict_seconds": 1.2}  # fmt: skip

    def _test(self, which: str, number: int, accuracy: float) -> dict[str, Any]:
        each = 4000 // self.classes
        confusion = np.zeros((self.classes, self.classes), dtype=int)
        for true in range(self.classes):
            right = min(each, round(each * accuracy * self.rng.uniform(0.9, 1.1)))
            confusion[true, true] = right
            for _ in range(each - right):
                shift = self.rng.choice((-1, 1, -1, 1, -2, 2, self.classes // 2))
                confusion[true, (true + shift) % self.classes] += 1
        correct, total = int(np.trace(confusion)), int(confusion.sum())
        low, high = wilson(correct, total)
        worst = [self._worst(which, i) for i in range(12)]
        return {"which": which, "iteration": number, "failure": None, "correct": correct, "total": total,
                "accuracy": correct / total, "low": low, "high": high, "confusion": confusion.tolist(), "worst": worst,
                "predictions": f"predictions/test-{which}.npy", "sha256": "0" * 64}  # fmt: skip

    def _worst(self, which: str, i: int) -> dict[str, Any]:
        file = f"worst/{which}-{i:02}.png"
        image = Image.new("L", (32, 32))
        angle = 2 * math.pi * i / 12
        corners = [(16 + 9 * math.cos(angle + k), 16 + 9 * math.sin(angle + k)) for k in (0.5, 2.6, 3.6, 5.8)]
        ImageDraw.Draw(image).polygon(corners, fill=255)
        (self.folder / "worst").mkdir(parents=True, exist_ok=True)
        image.save(self.folder / file)
        names = self._run()["dataset"]["class_names"]
        return {"file": file, "true": names[i % len(names)], "predicted": names[(i + 1) % len(names)],
                "confidence": 0.999 - 0.01 * i}  # fmt: skip

    def _candidate(self, folder: str, number: int, best: int | None, step: Step) -> None:
        sources = dict(self.sources[best]) if best is not None else {"data": DATA, "model": MODEL, "training": TRAINING}
        if number:
            changed = sources[step.component].replace("32", "64").replace('"max_epochs": 5', '"max_epochs": 12')
            sources[step.component] = changed + f"\n# {step.summary or step.feedback}{self.poison}\n"
        self.sources[number] = sources
        for name, text in sources.items():
            self._file(f"{folder}/{name}.py", text)
        rows = ["epoch,train_loss,train_accuracy,validation_loss,validation_accuracy,learning_rate,seconds"]
        log = []
        for epoch in range(12):
            rise = 1 - math.exp(-0.3 * (epoch + 1))
            loss, accuracy = 3.6 * (1 - 0.8 * rise), 0.85 * rise
            rows.append(f"{epoch},{loss:.4f},{accuracy:.4f},{loss + 0.2:.4f},{accuracy - 0.07:.4f},0.003,1.1")
            log.append(f"epoch {epoch + 1:>2}/12  train {accuracy:.3f}  validation {accuracy - 0.07:.3f}")
        self._file(f"{folder}/metrics.csv", "\n".join(rows) + "\n")
        self._file(f"{folder}/log.txt", "\n".join(log) + self.poison + "\n")

    def _file(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def poisoned(value: Any, poison: str) -> Any:
    """A record's data with `poison` after every text that is not read by programs."""
    if isinstance(value, dict):
        return {key: item if key in READ_BY_PROGRAMS else poisoned(item, poison) for key, item in value.items()}
    if isinstance(value, list):
        return [poisoned(item, poison) for item in value]
    return value + poison if isinstance(value, str) else value


def _take(data: dict[str, Any], seconds: float) -> dict[str, Any]:
    time.sleep(seconds)
    return data


def wilson(correct: int, total: int) -> tuple[float, float]:
    z, share = 1.96, correct / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return middle - half, middle + half


def p_value(wins: int, losses: int) -> float:
    """One-sided exact McNemar."""
    total = wins + losses
    return sum(math.comb(total, k) for k in range(wins, total + 1)) / 2**total


if __name__ == "__main__":
    Maker(Path(sys.argv[1]), classes=int(sys.argv[2]) if len(sys.argv) > 2 else 40).write()
