"""Makes the bank, or goes on with it: one forked process a training, each on one thread.

The order makes parts of the bank useful early, all data sets in turn: half of the seeds of the pipelines that get many;
seed 0 of every pipeline; the other half, and refits; the further seeds of every pipeline.
"""

from __future__ import annotations

import gc
import importlib.metadata
import itertools
import json
import os
import platform
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bank import product
from benchmarks.bank.grid import TASKS, Job, Task, recipes
from benchmarks.bank.records import append, pack_numbers, read

HERE = Path(__file__).resolve().parent
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "timm", "numpy")


@dataclass
class Bank:
    """The files of a bank, and the prepared images they were made from."""

    folder: Path = HERE
    raw: Path = Path("bank-images")  # raw images of the sources that read files
    cache: Path = Path("bank-cache")
    tasks: Sequence[Task] = TASKS
    seeds: int = 3  # of each pipeline
    many_seeds: int = 20  # of a few
    refits: int = 5  # of those
    datasets: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, dict[str, Any]] = field(default_factory=dict)

    def file(self, task: Task) -> Path:
        return self.folder / f"{task.name}.jsonl"

    def done(self, task: Task) -> dict[tuple[str, str, int], dict[str, Any]]:
        return {(r["kind"], r["recipe"], r["seed"]): r for r in read(self.file(task))}


def jobs(bank: Bank, task: Task) -> Iterator[Job]:
    """All trainings of a data set in the order in which they are made; some come twice."""
    names, half = [name for name, _ in recipes(task)], bank.many_seeds // 2
    for seed, name in itertools.product(range(half), task.many):
        yield Job(task.name, name, seed)
    for name in names:
        yield Job(task.name, name, 0)
    for seed, name in itertools.product(range(bank.many_seeds), task.many):
        yield Job(task.name, name, seed)
        if seed < bank.refits:
            yield Job(task.name, name, seed, "refit")
    for seed, name in itertools.product(range(1, bank.seeds), names):
        yield Job(task.name, name, seed)


def left(bank: Bank) -> list[list[Job]]:
    """What is not made yet, in a list for each data set."""
    found = []
    for task in bank.tasks:
        # A record without probabilities does not do for a pipeline of many seeds.
        done = {k for k, record in bank.done(task).items() if k[1] not in task.many or complete(record)}
        found.append([job for job in dict.fromkeys(jobs(bank, task)) if job.key not in done])
    return found


def complete(record: dict[str, Any]) -> bool:
    """Whether a record holds what is predicted, not only what is right."""
    return any("test_probabilities" in way for way in record["ways"].values())


def compact(file: Path) -> None:
    """Leave the newest record of each training alone, in one step."""
    newest = {(record["kind"], record["recipe"], record["seed"]): record for record in read(file)}
    partial = file.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    for record in newest.values():
        append(partial, record)
    if newest:
        partial.replace(file)


def in_turn(lists: Sequence[Sequence[Job]]) -> Iterator[Job]:
    """One of each list after the other, spread so that all lists end together."""
    placed = [((i + 0.5) / len(jobs), n, job) for n, jobs in enumerate(lists) for i, job in enumerate(jobs)]
    return (job for *_, job in sorted(placed, key=lambda item: item[:2]))


def make(bank: Bank, cores: int) -> None:
    """Make all trainings that are missing. Raises `RuntimeError` if one fails."""
    prepare(bank)
    for task in bank.tasks:
        compact(bank.file(task))
    gc.freeze()  # what is imported is left alone by the forks' collector, and so stays shared
    run(bank, list(in_turn(left(bank))), cores)


def run(bank: Bank, todo: Sequence[Job], cores: int) -> None:
    """Run jobs, up to `cores` at once."""
    many = {task.name: task.many for task in bank.tasks}
    running: dict[int, Job] = {}
    waiting = iter(todo)
    while True:
        while len(running) < cores and (job := next(waiting, None)):
            running[start(bank, job, job.recipe in many[job.dataset])] = job
        if not running:
            return
        child, status = os.wait()
        job = running.pop(child)
        if status:
            raise RuntimeError(f"the training {job} ended with status {status}")


def start(bank: Bank, job: Job, probabilities: bool) -> int:
    """Fork a process that carries out one job and appends its record; gives the process's number."""
    maker = os.getpid()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        carry_out(bank, job, probabilities, maker)
        code = 0
    except BaseException:  # noqa: BLE001  # the end of a fork: it must not return into its parent's code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def carry_out(bank: Bank, job: Job, probabilities: bool, maker: int) -> None:
    """Train in this process and append the record, unless the process that makes the bank is gone meanwhile."""
    from benchmarks.bank.training import train  # with torch, which takes seconds to import

    task = next(task for task in bank.tasks if task.name == job.dataset)
    data, settings = bank.datasets[task.name], dict(recipes(task))[job.recipe]
    with tempfile.TemporaryDirectory(prefix="bank-") as place:
        work, pipeline = Path(place, "work"), Path(place, "pipeline")
        work.mkdir()
        pipeline.mkdir()
        for name, source in product.sources(settings).items():
            (pipeline / f"{name}.py").write_text(source)
        folders = {
            "pipeline": pipeline, "work": work, "hidden": data.folder / "hidden",
            "train": refit_folder(bank, task) if job.kind == "refit" else data.train_folder,
            **{split: data.inputs_folder(split) for split in ("selection", "test")},
        }  # fmt: skip
        record = train(job, context(bank, task, job), folders, probabilities)
    if os.getppid() != maker:
        raise RuntimeError(f"{job} was left alone by its maker: another one may be making it anew")
    append(bank.file(task), record)
    ways = ", ".join(f"{way} {100 * values['test_accuracy']:.1f}%" for way, values in record["ways"].items())
    print(f"{job.dataset} {job.recipe} {job.kind} {job.seed}: {ways}, {record['cpu_seconds']:.1f} CPU-s", flush=True)


def context(bank: Bank, task: Task, job: Job) -> dict[str, Any]:
    """What the components are told. The seed is the job's own: no two pipelines share their luck."""
    data = bank.datasets[task.name]
    return {
        "classes": list(data.class_names), "height": data.height, "width": data.width, "channels": data.channels,
        "mean": list(data.mean), "std": list(data.std), "train_images": data.counts["train"],
        "images_per_class": list(data.images_per_class),
        "seed": product.seed_of(job.seed, f"{task.name} {job.recipe} {job.kind}"),
        # As many steps as its epochs have, however long they take.
        "steps": 10**9, "fit_seconds": 1e6, "keep": "best",
        "threads": 1, "workers": 0, "accelerator": "cpu", "pretrained": bank.weights,
        # A refit keeps its last weights: the images that it is validated on are among those that it learns from.
        "validation_fraction": 0.01 if job.kind == "refit" else 0.1,
    }  # fmt: skip


def prepare(bank: Bank) -> None:
    """Prepare the images and import what the forks use. No tensor operation: a fork of a process with threads hangs."""
    bank.cache.mkdir(parents=True, exist_ok=True)
    for task in bank.tasks:
        path = bank.raw / task.files if task.files else None
        bank.datasets[task.name] = product.dataset(task.settings, path, bank.cache)
        refit_folder(bank, task)
    bank.weights = product.pretrained(bank.cache.resolve())
    describe(bank)
    (unused,) = product.template("unused")
    with unused.left_out():
        import timm  # noqa: F401  # imported for the forks
        import torchmetrics  # noqa: F401
        import torchvision.transforms.v2  # noqa: F401
    import benchmarks.bank.training  # noqa: F401

    product.template("components", "classifier", "train")


def refit_folder(bank: Bank, task: Task) -> Path:
    """The images and labels of train and selection together."""
    data = bank.datasets[task.name]
    folder = bank.cache / f"{task.name}-refit-{data.fingerprint[:16]}"
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        images = [np.load(data.folder / split / "images.npy") for split in ("train", "selection")]
        labels = [np.load(data.train_folder / "labels.npy"), data.labels("selection")]
        np.save(partial / "images.npy", np.concatenate(images))
        np.save(partial / "labels.npy", np.concatenate(labels))
        partial.rename(folder)
    return folder


def describe(bank: Bank) -> None:
    """Write `tasks.json`: data sets, labels, options, and where it was made. Refuses to mix two data sets or grids."""
    file = bank.folder / "tasks.json"
    written = json.loads(file.read_text()) if file.exists() else {}
    tasks = dict(written.get("tasks", {}))
    for task in bank.tasks:
        data = bank.datasets[task.name]
        tasks[task.name] = {
            "settings": task.settings, "fingerprint": data.fingerprint, "classes": list(data.class_names),
            "counts": dict(data.counts), "epochs": task.epochs, "batch_size": task.batch_size,
            "options": task.options(), "recipes": [name for name, _ in recipes(task)],
            "code": product.code(settings for _, settings in recipes(task)),
            "labels": {split: pack_numbers(data.labels(split)) for split in ("selection", "test")},
        }  # fmt: skip
        before = written.get("tasks", {}).get(task.name)
        changed = before and json.loads(json.dumps(tasks[task.name])) != before
        if changed and bank.file(task).exists():
            raise RuntimeError(
                f"{task.name}: images or options differ from those of {bank.file(task)}; remove that file"
            )
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    made = {"python": platform.python_version(), "machine": platform.machine(), "cpu": cpu(), "versions": versions}
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps({"made": made, "tasks": tasks}, indent=1) + "\n")
    partial.replace(file)


def cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
