"""The pages of runs and studies in a real browser: nothing foreign runs, nothing complains, all fits a phone."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from improve.report import write_run_page
from improve.report.study import write_study
from tests.report.test_page import POISON
from tests.support.made_run import Maker
from tests.support.made_study import trials

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine to open the page in")
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


def opened(page: Path, tmp_path: Path, anchor: str = "", *flags: str) -> tuple[str, list[str]]:
    """The document after its scripts have run, and what the console said."""
    return opened_at(page.as_uri() + anchor, tmp_path, *flags)


def opened_at(address: str, tmp_path: Path, *flags: str, budget: int = 2000) -> tuple[str, list[str]]:
    """`budget`: milliseconds of a clock that does not wait for anything; 0: the real one."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", *flags,
        *([f"--virtual-time-budget={budget}"] if budget else []), address,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def title(document: str) -> str:
    found = re.search(r"<title>(.*?)</title>", document, re.DOTALL)
    return found.group(1) if found else ""


def width_on_a_phone(page: Path, tmp_path: Path) -> int:
    """How wide the page is, with everything unfolded, in a window of 375 pixels."""
    unfolded = POLICY.sub("", page.read_text()).replace("<details", "<details open")
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<!doctype html><title>x</title><iframe style="width:375px;height:800px" srcdoc="{html.escape(unfolded)}">'
        "</iframe><script>onload=()=>{document.title=document.querySelector('iframe')"
        ".contentDocument.documentElement.scrollWidth}</script>"
    )
    return int(title(opened(frame, tmp_path)[0]))


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
    assert width_on_a_phone(poisoned, tmp_path) <= 375


def test_the_page_of_a_study_fits_a_phone_and_the_console_is_silent(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    for strategy in ("iterative", "global"):
        names = {"llm": POISON, "dataset": "a_data_set_with_a_rather_long_name", "strategy": strategy}
        trials(folder, "table4", [0.5, 0.6, None], **names)
        trials(folder, "table4", [0.9], llm="o1", dataset="cifar10", strategy=strategy, protocol="paper")
    page = write_study([folder], folder)
    document, console = opened(page, tmp_path)
    assert console == []
    assert title(document).startswith("Table 4")
    page.write_text(POLICY.sub("", page.read_text()))
    document, console = opened(page, tmp_path)
    assert title(document) not in ("", "OWNED")
    assert console == []
    assert width_on_a_phone(page, tmp_path) <= 375


# Presses a mark of the chart in each frame, as a finger would: at its middle, where nothing may lie above it.
PRESSING = """
const frames = [...document.querySelectorAll("iframe")], said = [];
function press(frame) {
  const page = frame.contentDocument, marks = [...page.querySelectorAll("svg.score a.point")];
  const shown = marks.filter((mark) => mark.getBoundingClientRect().width > 0);
  const mark = shown.find((each) => each.getAttribute("href") === "#iteration-6");
  mark.ownerSVGElement.scrollIntoView({behavior: "instant"});
  const box = mark.querySelector(".target").getBoundingClientRect();
  const top = page.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
  const step = page.getElementById("iteration-6"), diff = step.querySelector(".diff pre");
  const folded = !diff.checkVisibility();
  top.dispatchEvent(new MouseEvent("click", {bubbles: true, cancelable: true, view: frame.contentWindow}));
  setTimeout(() => {
    const row = {marks: shown.length, hit: top.closest("a") === mark, folded, open: step.open,
      visible: diff.checkVisibility() && diff.getBoundingClientRect().height > 20,
      added: diff.querySelectorAll(".added").length, wide: page.documentElement.scrollWidth - frame.clientWidth};
    page.getElementById("unfold").click();
    row.all = [...page.querySelectorAll("details.iteration")].every((each) => each.open);
    page.getElementById("unfold").click();
    row.none = ![...page.querySelectorAll("details.iteration")].some((each) => each.open);
    said.push(row);
    if (said.length === frames.length) document.title = JSON.stringify(said);
  }, 200);
}
addEventListener("load", () => frames.forEach(press));
"""


def test_marks_can_be_pressed_and_diffs_unfold_on_a_phone_and_a_desk(tmp_path: Path) -> None:
    page = write_run_page(Maker(tmp_path / "run", classes=5, llm="m", usd=None).write())
    frames = "".join(
        f'<iframe style="width:{width}px;height:900px" src="{page.as_uri()}"></iframe>' for width in (375, 1100)
    )
    pressed = tmp_path / "pressed.html"
    pressed.write_text(f"<!doctype html><title>x</title>{frames}<script>{PRESSING}</script>")
    # To a browser, two local files are strangers; this test's own may look into the page.
    document, console = opened(pressed, tmp_path, "", "--disable-web-security", "--allow-file-access-from-files")
    assert console == []
    rows = json.loads(html.unescape(title(document)))
    assert len(rows) == 2
    for row in rows:
        assert row["added"] > 0
        assert row["marks"] == 9
        assert row["wide"] <= 0
        assert all(row[key] for key in ("hit", "folded", "open", "visible", "all", "none")), row


# Searches the page in a frame, then goes to the first place by Enter.
SEARCHING = """
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument, search = page.getElementById("search");
  const view = page.defaultView, said = {shown: search.parentElement.checkVisibility()};
  search.value = "You Are The model_engineer";
  search.dispatchEvent(new Event("input"));
  setTimeout(() => {
    said.found = page.getElementById("found").textContent;
    said.marked = view.CSS.highlights.get("found").size;
    said.texts = [...new Set([...view.CSS.highlights.get("found")].map((range) => range.toString()))];
    said.open = [...page.querySelectorAll("details.iteration")].filter((each) => each.open).length;
    search.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter"}));
    const [at] = view.CSS.highlights.get("current");
    const box = at.getBoundingClientRect();
    said.seen = box.height > 0 && box.top >= 0 && box.bottom <= view.innerHeight;
    document.title = JSON.stringify(said);
  }, 600);
});
"""


def test_prompts_and_replies_can_be_searched(tmp_path: Path) -> None:
    page = write_run_page(Maker(tmp_path / "run", classes=5, llm="m", usd=None).write())
    searching = tmp_path / "searching.html"
    searching.write_text(
        f'<!doctype html><title>x</title><iframe style="width:1100px;height:900px" src="{page.as_uri()}"></iframe>'
        f"<script>{SEARCHING}</script>"
    )
    document, console = opened(searching, tmp_path, "", "--disable-web-security", "--allow-file-access-from-files")
    assert console == []
    said = json.loads(html.unescape(title(document)))
    assert said["shown"]
    assert said["texts"] == ["You are the model_engineer"]
    calls = page.read_text().count("You are the model_engineer")
    assert calls > 1
    assert said["marked"] == calls
    assert said["found"].startswith(f"{calls} places")
    assert said["open"] > 1
    assert said["seen"]
