"""What a training has: cores, GPUs, and how the roles are told of them. On a cluster it has what it asks for."""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import os
import platform
from pathlib import Path

from improve.config.schema import ExecutorConfig
from improve.datasets import TimeLimit
from improve.errors import ConfigError, SandboxError
from improve.execution.lanes import Lanes
from improve.sandbox import Sandbox, Tier, compiler

RAY = "ray"  # the executor of that name
LIBRARIES = ("torch", "torchvision", "timm", "pytorch-lightning")
DEVICES = Path("/dev")
NVIDIA = Path("/proc/driver/nvidia/gpus")
# Seconds of a time limit from which on compiling is tried: in vain it then costs a twentieth (`template/compiling.py`),
# 30 s, and a small network takes 12 s of a core for it.
COMPILE_FROM = 600.0


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def slots(config: ExecutorConfig, candidates: int) -> int:
    """How many trainings go on at a time in a run that has so many candidates an iteration: see `executor.slots`."""
    if config.slots != "auto":
        return int(config.slots)
    if config.name == RAY:
        return candidates  # the cluster has them wait where it has no room
    if config.devices > 1:
        return 1
    return min(candidates, len(gpu_names()) if uses_gpu(config) else cores())


def lanes(config: ExecutorConfig, slots: int) -> Lanes:
    """What each of these trainings has of the machine; nothing of this one where they are on a cluster."""
    if config.name == RAY:
        return Lanes(slots, (), 0)
    return Lanes(slots, sorted(os.sched_getaffinity(0)), len(gpu_names()) if uses_gpu(config) else 0)


def training_threads(config: ExecutorConfig, slots: int = 1) -> int:
    """CPU threads of one training: as configured, else all cores but one, which prepares the next steps meanwhile.

    Of several trainings at a time each has as many as its share of the cores.
    """
    if config.name == RAY:
        return config.threads or max(1, int(config.ray.num_cpus))
    return config.threads or max(1, cores() // slots if slots > 1 else cores() - 1)


def here(config: ExecutorConfig) -> ExecutorConfig:
    """The configuration for what happens on this machine, wherever trainings do."""
    return dataclasses.replace(config, name="local")


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
    if config.name == RAY:
        return config.accelerator != "cpu" and config.ray.num_gpus > 0
    return config.accelerator != "cpu" and bool(gpu_names())


def check_devices(config: ExecutorConfig, sandbox: Sandbox) -> None:
    """Refuse a training on more devices than there are, or where its processes cannot talk to each other.

    Raises `ConfigError` and `SandboxError`.
    """
    asked, there = config.devices, len(gpu_names())
    if uses_gpu(config) and config.name != RAY and asked > there:
        raise ConfigError(
            f"executor.devices={asked}, but this machine has {there} GPU{'s' if there > 1 else ''}.",
            f"use executor.devices={there}, or executor.accelerator=cpu for processes on CPU cores",
        )
    if config.strategy == "fsdp" and not uses_gpu(config):
        raise ConfigError(
            "executor.strategy=fsdp is for GPUs, and a training has none here.", "use executor.strategy=ddp"
        )
    if config.num_nodes > 1 and sandbox.tier is not Tier.T3:
        raise SandboxError(
            f"executor.num_nodes={config.num_nodes} needs sandboxes that have a network for themselves, which tier T3 "
            f"has and {sandbox.tier.name} has not. {sandbox.how_to_improve}".rstrip(),
            "use executor.num_nodes=1, or get tier T3 on every node: apt-get install bubblewrap",
        )
    if asked > 1 and sandbox.tier is Tier.T1:
        raise SandboxError(
            f"executor.devices={asked} needs a sandbox in which the processes of a training have a network for "
            f"themselves, and tier T1 has none. {sandbox.how_to_improve}",
            "use executor.devices=1, or do what is said above",
        )


def compile_mode(config: ExecutorConfig) -> str:
    """Whether trainings may be compiled, as `template/context.py` reads it: "off", "auto" or "on"."""
    if config.compile != "auto":
        return config.compile
    long_enough = not config.steps and config.fit_seconds >= COMPILE_FROM
    able = config.name != RAY and config.devices == 1 and not compiler.missing()
    return "auto" if long_enough and able else "off"


def check_compiler(config: ExecutorConfig) -> None:
    """Refuse `executor.compile=on` where it cannot be. Raises `ConfigError`."""
    if config.compile != "on":
        return
    if config.name == RAY or config.devices > 1:
        raise ConfigError(
            "executor.compile=on is for trainings on one device of this machine.",
            "use executor.compile=off, or executor=local and executor.devices=1",
        )
    absent = compiler.missing()
    if absent:
        raise ConfigError(f"executor.compile=on needs {absent}, not found on this machine.", compiler.INSTALL)


def time_limit(config: ExecutorConfig) -> TimeLimit:
    """Of one training."""
    return TimeLimit(config.fit_seconds, uses_gpu(config))


def gpu_devices(config: ExecutorConfig) -> tuple[Path, ...]:
    """Device nodes that a training on a GPU needs."""
    if not uses_gpu(config):
        return ()
    names = [path for part in ("nvidia*", "nvidia-caps/*") for path in DEVICES.glob(part)]
    return tuple(sorted(path for path in names if path.is_char_device()))


def description(config: ExecutorConfig) -> str:
    """One line for the roles and the journal, for instance "2 CPU cores (Intel …), no GPU"."""
    return described(cores(), config)


def described(count: int, config: ExecutorConfig) -> str:
    """The same where a training has `count` of this machine's cores."""
    gpus, used = gpu_names() if config.accelerator != "cpu" else (), config.devices
    many = f"{used} GPUs" if used == len(gpus) > 1 else f"{used} of {len(gpus)} GPUs" if len(gpus) > 1 else "1 GPU"
    gpu = f"{many} ({gpus[0]})" if gpus else "no GPU"
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
