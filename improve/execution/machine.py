"""What this machine offers to a training: cores, GPUs, and how the roles are told of them."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
from pathlib import Path

from improve.config.schema import ExecutorConfig
from improve.datasets import TimeLimit
from improve.execution.lanes import Lanes

LIBRARIES = ("torch", "torchvision", "timm", "pytorch-lightning")
DEVICES = Path("/dev")
NVIDIA = Path("/proc/driver/nvidia/gpus")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def slots(config: ExecutorConfig, candidates: int) -> int:
    """How many trainings go on at a time in a run that has so many candidates an iteration: see `executor.slots`."""
    if config.slots != "auto":
        return int(config.slots)
    return min(candidates, len(gpu_names()) if uses_gpu(config) else cores())


def lanes(config: ExecutorConfig, slots: int) -> Lanes:
    """What each of these trainings has of the machine."""
    return Lanes(slots, sorted(os.sched_getaffinity(0)), len(gpu_names()) if uses_gpu(config) else 0)


def training_threads(config: ExecutorConfig, slots: int = 1) -> int:
    """CPU threads of one training: as configured, else all cores but one, which prepares the next steps meanwhile.

    Of several trainings at a time each has as many as its share of the cores.
    """
    return config.threads or max(1, cores() // slots if slots > 1 else cores() - 1)


@functools.cache
def gpu_names() -> tuple[str, ...]:
    """The names of NVIDIA GPUs, read from the driver: no library is loaded for it."""
    names = []
    for file in sorted(NVIDIA.glob("*/information")):
        for line in file.read_text(errors="replace").splitlines():
            if line.startswith("Model:"):
                names.append(line.split(":", 1)[1].strip())
    if not names and Path("/dev/nvidia0").exists():
        names = ["NVIDIA GPU"] * len([p for p in Path("/dev").glob("nvidia*") if p.name[6:].isdigit()])
    return tuple(names)


def uses_gpu(config: ExecutorConfig) -> bool:
    return config.accelerator != "cpu" and bool(gpu_names())


def time_limit(config: ExecutorConfig) -> TimeLimit:
    """Of one training here."""
    return TimeLimit(config.fit_seconds, uses_gpu(config))


def gpu_devices(config: ExecutorConfig) -> tuple[Path, ...]:
    """Device nodes that a training on a GPU needs."""
    if not uses_gpu(config):
        return ()
    names = [path for part in ("nvidia*", "nvidia-caps/*") for path in DEVICES.glob(part)]
    return tuple(sorted(path for path in names if path.is_char_device()))


def description(config: ExecutorConfig) -> str:
    """One line for the roles and the journal, for instance "2 CPU cores (Intel …), no GPU"."""
    count = cores()
    gpus = gpu_names() if config.accelerator != "cpu" else ()
    gpu = f"1 of {len(gpus)} GPUs ({gpus[0]})" if len(gpus) > 1 else f"1 GPU ({gpus[0]})" if gpus else "no GPU"
    return f"{count} CPU core{'s' if count > 1 else ''} ({_processor()}), {gpu}"


@functools.cache
def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def library_versions() -> dict[str, str]:
    """Versions of what components may import, read without importing it."""
    return {name.replace("-", "_"): importlib.metadata.version(name) for name in LIBRARIES}
