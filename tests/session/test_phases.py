"""What a display is told while a run begins: the step that takes the time is the one that is shown."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

from improve.config.compose import config_from
from improve.display import make_display
from improve.display.progress import STAGES
from improve.record.journal import Journal
from improve.session.opening import Order
from improve.session.session import Session


def test_the_imports_are_not_taken_for_the_preparation_of_the_images(tmp_path: Path, cache: Path) -> None:
    config = config_from(["dataset=digits", f"outputs={tmp_path}", f"cache_dir={cache}"])
    display, stages = make_display("none"), []
    display.phase = lambda iteration, stage, detail="": stages.append(stage)  # type: ignore[method-assign]
    session = Session(Order.of(config), time.monotonic())
    session.folder.mkdir(parents=True)
    with closing(Journal(session.folder)) as journal:
        session._prepare(journal, display)[0].close()
    assert stages[-1] == "starting"
    assert "preparing" not in STAGES["starting"]
