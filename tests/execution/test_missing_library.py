"""A library that the sandbox lacks is found before the first call to a model, with the import's own last line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from improve.commands.doctor import Mark, check_sandbox
from improve.datasets import Dataset
from improve.errors import SandboxError
from improve.sandbox import choose, packages, visible
from improve.session.hidden import look_from_inside
from tests.support.bench import executor, make_task


@pytest.fixture
def _without_timm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(packages, "ALLOWED", {name: top for name, top in packages.ALLOWED.items() if name != "timm"})
    caches = (packages.packages, visible.trees)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.usefixtures("_without_timm")
def test_a_run_is_refused_before_anything_is_spent(tmp_path: Path, cache: Path) -> None:
    task: Dataset = make_task(tmp_path / "images", cache)
    made = executor(task, choose("auto"), tmp_path / "run")
    (tmp_path / "run").mkdir()
    with pytest.raises(SandboxError, match="ModuleNotFoundError: No module named 'timm'") as raised:
        look_from_inside(made, [])
    assert "--force-reinstall" in raised.value.fix
    assert "timm" in raised.value.fix
    made.close()


@pytest.mark.usefixtures("_without_timm")
def test_the_doctor_looks_too() -> None:
    finding = check_sandbox()
    assert finding.mark is Mark.FAIL
    assert "No module named 'timm'" in finding.sentence


def test_the_doctor_is_content() -> None:
    finding = check_sandbox()
    assert finding.mark is Mark.OK
    assert "can be imported" in finding.sentence
