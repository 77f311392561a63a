"""A run that is refused before its first record leaves no folder, be it on a file system like NFS."""

from __future__ import annotations

from pathlib import Path

import pytest

from improve.run import main
from tests.support.mounts import mounted, needs_bindfs


@pytest.mark.parametrize("place", ["disk", pytest.param("mount", marks=needs_bindfs)])
def test_a_refused_run_leaves_no_folder(
    place: str, tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mount = tmp_path / "mount"
    with mounted(tmp_path / "disk", *([mount] if place == "mount" else [])):
        folder = tmp_path / place / "run"
        impossible = ["executor.accelerator=cpu", "executor.devices=2", "executor.strategy=fsdp"]
        refused = main(["dataset=digits", *impossible, f"cache_dir={cache}", f"run_dir={folder}"])
        said = capsys.readouterr().err
        assert refused > 1, said
        assert "error: executor.strategy=fsdp is for GPUs" in said
        assert "Traceback" not in said
        assert list((tmp_path / "disk").iterdir()) == []
