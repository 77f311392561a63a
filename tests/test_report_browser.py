"""The page of a run in a real browser: nothing foreign runs, nothing complains, nothing is wider than a phone."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from improve.report import write_run_page
from tests.made_run import Maker
from tests.test_report import POISON

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine to open the page in")
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


def opened(page: Path, tmp_path: Path, anchor: str = "") -> tuple[str, list[str]]:
    """The document after its scripts have run, and what the console said."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000", "--dump-dom", page.as_uri() + anchor,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def title(document: str) -> str:
    found = re.search(r"<title>(.*?)</title>", document, re.DOTALL)
    return found.group(1) if found else ""


@pytest.fixture
def poisoned(tmp_path: Path) -> Path:
    return write_run_page(Maker(tmp_path / "run", classes=5, poison=POISON, llm="m", usd=None).write())


def test_nothing_foreign_runs_even_without_the_policy(poisoned: Path, tmp_path: Path) -> None:
    bare, count = POLICY.subn("", poisoned.read_text())
    assert count == 1
    poisoned.write_text(bare)
    document, console = opened(poisoned, tmp_path)
    assert title(document) not in ("", "OWNED")
    assert console == []
    # The same browser does run such text where it is not escaped: this test can fail.
    control = tmp_path / "control.html"
    control.write_text(f"<!doctype html><title>x</title><p>{POISON}")
    assert title(opened(control, tmp_path)[0]) == "OWNED"


def test_our_own_script_runs_under_the_policy_and_unfolds_the_target(poisoned: Path, tmp_path: Path) -> None:
    document, console = opened(poisoned, tmp_path, "#iteration-3")
    assert console == []
    assert re.findall(r'<details class="iteration \w+" id="iteration-(\d)" open="">', document) == ["3"]


def test_the_page_fits_a_phone(poisoned: Path, tmp_path: Path) -> None:
    unfolded = POLICY.sub("", poisoned.read_text()).replace("<details", "<details open")
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<!doctype html><title>x</title><iframe style="width:375px;height:800px" srcdoc="{html.escape(unfolded)}">'
        "</iframe><script>onload=()=>{document.title=document.querySelector('iframe')"
        ".contentDocument.documentElement.scrollWidth}</script>"
    )
    assert int(title(opened(frame, tmp_path)[0])) <= 375
