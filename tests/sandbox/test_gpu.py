"""With a GPU: what the sandbox is told to show of it. No GPU was at hand: nothing of this has run on one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from improve.config.schema import ExecutorConfig
from improve.execution import machine
from improve.sandbox import Limits, bubblewrap, guarded, libraries, visible
from improve.sandbox.guard import landlock
from improve.sandbox.values import Launch

DEVICES = [Path(f"/dev/{name}") for name in ("nvidia0", "nvidiactl", "nvidia-uvm", "nvidia-caps/nvidia-cap1")]


def launch(devices: list[Path]) -> Launch:
    return Launch(cwd=Path("/tmp"), limits=Limits(1 << 30, 1 << 24, 1 << 16), devices=devices)


def pairs(command: list[str], option: str) -> list[tuple[str, str]]:
    return [(command[at + 1], command[at + 2]) for at, word in enumerate(command) if word == option]


def test_bubblewrap_is_given_the_devices_and_what_the_driver_reads() -> None:
    command = bubblewrap.command(launch(DEVICES), 3, 4, 5)
    assert set(pairs(command, "--dev-bind")) == {(str(path), str(path)) for path in DEVICES}
    assert ("/sys", "/sys") in pairs(command, "--ro-bind")
    first = command.index("--dev-bind")
    assert command.index("--dev") < first < len(command) - command[::-1].index("--remount-ro")
    assert "/dev/nvidia-caps" in command[: command.index(str(DEVICES[3]))]  # its folder is made first
    without = bubblewrap.command(launch([]), 3, 4, 5)
    assert not pairs(without, "--dev-bind")
    assert ("/sys", "/sys") not in pairs(without, "--ro-bind")


def test_no_limit_breaks_cuda() -> None:
    """It reserves far more addresses than there is memory."""
    assert not {"RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_MEMLOCK"} & set(bubblewrap.rlimits(launch(DEVICES).limits))
    assert "RLIMIT_AS" not in guarded._rlimits(launch(DEVICES), True)


def test_landlock_lets_the_devices_through() -> None:
    rules = dict(guarded._rules(launch(DEVICES), []))
    assert all(rules[str(path)] == landlock.DEVICE for path in DEVICES)
    assert rules["/sys"] == landlock.READ


def test_the_libraries_of_the_driver_are_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    known = {}
    for name in ("libcuda.so.1", "libnvidia-ml.so.1", "libnvidia-ptxjitcompiler.so.1", "libGL.so.1"):
        (tmp_path / name).touch()
        known[name] = str(tmp_path / name)
    monkeypatch.setattr(libraries, "_known", lambda: known)
    assert {path.name for path in libraries.needed([], gpu=True)} == set(known) - {"libGL.so.1"}
    assert libraries.needed([], gpu=False) == []


def test_devices_of_partitions_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def is_character_device(path: Path, **_: Any) -> bool:
        return path.is_file()

    for path in DEVICES:
        made = tmp_path / path.relative_to("/dev")
        made.parent.mkdir(exist_ok=True)
        made.touch()
    monkeypatch.setattr(machine, "DEVICES", tmp_path)
    monkeypatch.setattr(machine, "uses_gpu", lambda config: True)
    monkeypatch.setattr(Path, "is_char_device", is_character_device)
    found = machine.gpu_devices(ExecutorConfig())
    assert {path.relative_to(tmp_path) for path in found} == {path.relative_to("/dev") for path in DEVICES}
    assert visible.GPU_SETTINGS == ("/sys",)
