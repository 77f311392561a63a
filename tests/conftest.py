"""What all tests share: one cache of prepared images for the whole session."""

from __future__ import annotations

from pathlib import Path

import pytest

# Files that take minutes go first: a file is one worker's work, and begun last they would be all that still runs.
LONGEST = (
    "test_crash_points.py", "test_ordinary_crash_points.py", "test_resume.py", "test_promises.py", "test_full_disk.py",
    "test_fetch_weights.py", "test_run.py", "test_attacks.py", "test_alone.py", "test_tracking.py", "test_pace.py",
    "test_doctor.py", "test_readme.py", "test_races.py", "test_retry.py", "test_dry_run.py", "test_cassette_model.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")
