"""The page of a run: what it says, that foreign text is harmless in it, that odd files do not stop it."""

from __future__ import annotations

import html
import os
import re
import shutil
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from improve.display.text import clean
from improve.errors import ResumeError
from improve.record.history import History
from improve.record.kinds import EnsembleRecord
from improve.report import write_run_page
from improve.report.charts import score_chart, ticks
from improve.report.code import coloured_lines
from improve.report.confusion import confusion
from improve.report.curves import curve_charts
from improve.report.diffs import diff
from improve.report.files import RunFiles
from improve.report.page import run_page
from tests.support.made_run import Maker

OWN = "document.title='OWNED'"
CODE = ("def f(x):\n", "    ", '"""', "'", "# note", "\n", "\\", "1e5", "class", "@cached", "<b>&amp;", "f'{x}'", "\r")
POISON = (
    f'</script></style></pre></title><script>{OWN}</script><img src=x onerror="{OWN}">\'">'
    f'<svg onload="{OWN}">' + "{{ 7*7 }}"
)


class Page(HTMLParser):
    """What a page is made of, as far as the tests ask."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page_of(maker: Maker, stop_before: str = "") -> Page:
    return Page(write_run_page(maker.write(stop_before)).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    return page_of(Maker(tmp_path_factory.mktemp("run"), classes=40))


def test_the_page_tells_the_run(page: Page) -> None:
    for expected in (
        "Sorting images into 40 classes: from 59.7% to 81.5% correct",
        "A rule-based expert (no language model was used)",
        "the best pipeline is better",
        "3 of 8",
        "1 rejected, 2 within noise, 2 failed",
        "Random flips turn one orientation into another",  # a reason
        "the net underfits",  # the analyst
        "mat1 and mat2 shapes cannot be multiplied",  # a failed check
        "with 2 repairs",
        "max_epochs",  # a diff
        "epoch 12/12  train",  # a log
        "You are the model_engineer",  # a prompt
        "Images: 8,000 training",  # the card
        "alpha: 0.2",  # the configuration
        "pytorch-lightning",
        "188 are right only with this change",
    ):
        assert expected in page.text, expected


def test_the_headline_is_about_what_is_delivered(tmp_path: Path) -> None:
    """Several trainings together, where there are; and the claim beside it says what it compares."""
    folder = Maker(tmp_path, classes=3).write()
    history = History.read(folder)
    assert history.best is not None
    ensemble = EnsembleRecord(
        iteration=history.best, members=[0, 1, 2], failure=None, correct=852, total=1000, accuracy=0.852,
        low=0.83, high=0.87, predictions="", sha256="",
    )  # fmt: skip
    text = Page(run_page(replace(history, ensemble=ensemble), folder)).text
    assert "from 64.0% to 85.2% correct" in text
    assert "Best against first, over their trainings: +" in text


def test_every_iteration_can_be_reached_from_chart_and_table(page: Page) -> None:
    targets = {f"#iteration-{number}" for number in range(9)}
    links = [attributes.get("href") for attributes in page.all("a")]
    assert all(links.count(target) == 3 for target in targets)  # two sizes of the chart, one table
    assert {f"#{a['id']}" for a in page.all("details") if a.get("id")} == targets
    ids = {attributes["id"] for _, attributes in page.tags if attributes.get("id")}
    assert {link[1:] for link in links if link} <= ids


def test_the_page_needs_nothing_else(page: Page) -> None:
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "data", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:image/png;base64,")), (tag, name, value)
    # Mistakes, training images of three classes, augmented ones of the two data components that were accepted.
    assert len(page.all("img")) == 12 + 3 + 2
    assert not page.all("link")


def test_foreign_text_stays_text_everywhere(tmp_path: Path) -> None:
    clean, poisoned = (
        page_of(Maker(tmp_path / name, poison=poison, llm="m", usd=None))
        for name, poison in (("a", "x"), ("b", POISON))
    )
    # One script, ours, and the same elements as with harmless text: none of it became an element.
    assert len(poisoned.all("script")) == 1
    # One of colour for a piece of code is no other than for a harmless one.
    assert [tag for tag, _ in poisoned.tags if tag != "span"] == [tag for tag, _ in clean.tags if tag != "span"]
    assert all(set(attributes) <= {"class", "id", "role"} for attributes in poisoned.all("span"))
    assert not [name for _, attributes in poisoned.tags for name in attributes if name.startswith("on")]
    assert poisoned.text.count("{{ 7*7 }}") > 200
    assert "price unknown" in poisoned.text


def test_control_characters_do_not_reach_the_page(tmp_path: Path) -> None:
    text = write_run_page(Maker(tmp_path, poison="\x1b[31mred\x00\x9b\u202e", llm="m").write()).read_text()
    assert "red" in text
    assert not re.search("[\x00\x1b\x9b\u202e]", text)


def test_a_run_reads_at_every_point_where_it_can_be_killed(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    for stop in ("llm-0-architect-0", "candidate-0", "verdict-0", "proposal-1", "candidate-1", "score-1", "summary-4"):
        page = page_of(maker, stop)
        assert "This run is not finished" in page.text, stop
        assert "The test images have not been scored yet" in page.text, stop
    assert "not finished" not in page_of(maker).text


def test_warnings_stand_at_the_top(tmp_path: Path) -> None:
    text = page_of(Maker(tmp_path, verified=False, protocol="paper")).text
    assert text.index("UNVERIFIED") < text.index("How the score moved")
    assert "that also chose the pipelines" in text
    assert text.count(", unverified") >= 3
    assert "no decision had used" not in text


def test_findings_on_the_images_are_shown_with_what_was_accepted(tmp_path: Path) -> None:
    text = " ".join(Page(write_run_page(Maker(tmp_path).write()).read_text()).text.split())
    assert "serious test images that nearly equal a training image: 3,000 of 6,000 (accepted)" in text
    assert "warning the commonest class has 12 times the images of the rarest" in text
    assert "What to do: look closely" in text
    assert "imbalance/a.png = b.png" in text


def test_missing_files_are_left_out(tmp_path: Path) -> None:
    folder = Maker(tmp_path).write()
    for name in ("candidates", "calls", "worst", "samples"):
        shutil.rmtree(folder / name)
    page = Page(write_run_page(folder).read_text())
    assert not page.all("img")
    assert "reply of the analyst" in page.text  # from the journal


def test_large_logs_and_replies_are_cut(tmp_path: Path) -> None:
    folder = Maker(tmp_path).write()
    (folder / "candidates/001/log.txt").write_text("first line\n" + "x" * 100 + "\n" * 1_000_000 + "last line\n")
    (folder / "calls/001-analyst-0.txt").write_text("begin" + "y" * 150_000 + "end")
    page = write_run_page(folder)
    assert page.stat().st_size < 600_000
    text = page.read_text()
    assert "last line" in text
    assert "characters left out" in text


def test_no_run_no_page(tmp_path: Path) -> None:
    with pytest.raises(ResumeError):
        write_run_page(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_outside_the_folder_is_read(tmp_path: Path) -> None:
    folder, secret = tmp_path / "run", tmp_path / "secret.txt"
    (folder / "real").mkdir(parents=True)
    secret.write_text("key")
    (folder / "real/fine.txt").write_text("fine")
    (folder / "link.txt").symlink_to(secret)
    (folder / "inner.txt").symlink_to(folder / "real/fine.txt")
    (folder / "linked").symlink_to(folder / "real")
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe")
    files = RunFiles(folder)
    assert files.text("real/fine.txt") == "fine"
    refused = ("link.txt", "inner.txt", "linked/fine.txt", "loop", "pipe", "real", "../secret.txt", str(secret),
               "real/../../secret.txt", "", "a\0b", "none.txt")  # fmt: skip
    assert [files.text(name) for name in refused] == [None] * len(refused)
    assert files.tail("real/fine.txt", 100) == "fine"
    assert files.png("real/fine.txt") is None  # no PNG


# The parts


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e3), st.integers(1, 12))
def test_ticks_are_round_few_and_inside(low: float, span: float, most: int) -> None:
    found = ticks(low, low + span, most)
    assert len(found) <= most + 1
    assert all(low - 1e-6 * span <= tick <= low + span + 1e-6 * span for tick in found)


@given(st.text() | st.text(alphabet="0123456789.,-einfa\n\"'"))
def test_any_metrics_file_is_read_without_harm(body: str) -> None:
    header = "epoch,train_loss,train_accuracy,validation_loss,validation_accuracy,learning_rate,seconds\n"
    for chart in (*curve_charts(body), *curve_charts(header + body)):
        for curve in chart.curves:
            numbers = [float(number) for number in re.findall(r"[-\d.]+", curve.path)]
            assert all(-1 <= number <= 341 for number in numbers)


def test_curves_show_what_is_usable() -> None:
    rows = "epoch,train_loss,validation_loss,validation_accuracy\n0,2.0,2.5,0.1\n1,nan,inf,0.4\n2,1.0,1.5,<b>\n"
    accuracy, loss = curve_charts(rows)
    assert [curve.name for curve in accuracy.curves] == ["validation"]
    assert [curve.last for curve in loss.curves] == [1.0, 1.5]
    assert curve_charts("epoch,train_loss\n0,1.0\n") == ()


def test_the_chart_shows_every_verdict_and_no_score_for_failures(tmp_path: Path) -> None:
    history = History.read(Maker(tmp_path).write())
    chart = score_chart(history, "wide", 900, 300)
    assert chart is not None
    assert [point.mark for point in chart.points] == [
        "accepted", "accepted", "rejected", "accepted", "noise", "failed", "accepted", "failed", "noise",
    ]  # fmt: skip
    failed = [point for point in chart.points if point.mark == "failed"]
    scored = [point for point in chart.points if point.low is not None]
    assert all(point.low is None for point in failed)
    assert max(point.low or 0 for point in scored) < min(point.y for point in failed)  # a lane of their own
    assert all(point.high < point.y < point.low for point in scored if point.high and point.low)
    heights = [float(y) for y in re.findall(r"[VM](?:[\d.]+ )?([\d.]+)", chart.best)]
    assert heights == sorted(heights, reverse=True)  # the best never gets worse
    assert "+11.2 pp" in chart.points[3].title


@pytest.mark.parametrize("stop", ["verdict-0", "verdict-1"])
def test_the_chart_of_a_short_run(tmp_path: Path, stop: str) -> None:
    chart = score_chart(History.read(Maker(tmp_path, planned=0).write(stop)), "narrow", 360, 300)
    assert chart is None if stop == "verdict-0" else chart is not None and len(chart.points) == 1


def test_confusions_are_counted_and_ranked() -> None:
    found = confusion([[8, 2, 0], [5, 5, 0], [0, 0, 0]], ["cat", "dog", "<i>"])
    assert [(m.true, m.predicted, m.count, m.share) for m in found["mixups"]] == [
        ("dog", "cat", 5, 0.5),
        ("cat", "dog", 2, 0.2),
    ]
    assert [(cell.count, cell.right) for cell in found["cells"]] == [(8, True), (2, False), (5, False), (5, True)]
    assert found["numbered"]
    many = confusion([[1] * 200 for _ in range(200)], [str(i) for i in range(200)])
    assert not many["drawn"]
    assert not many["cells"]


@given(st.one_of(st.text(), st.lists(st.sampled_from(CODE)).map("".join)).map(clean))
def test_code_in_colour_is_the_same_code_and_nothing_but_spans(source: str) -> None:
    lines = coloured_lines(source)
    assert [html.unescape(re.sub(r'<span class="[csnkfd]">|</span>', "", line)) for line in lines] == source.split("\n")
    assert all(line.count("<") == 2 * line.count("</span>") for line in lines)  # each line is whole in itself


def test_code_in_colour_takes_no_longer_for_odd_sources() -> None:
    began = time.process_time()
    for source in ("(" * 200_000, "'" * 200_000, "\\\n" * 50_000, 'f"{' * 60_000, "x" * 200_000, "\n" * 200_000):
        coloured_lines(source)
    assert time.process_time() - began < 20


@given(
    st.lists(st.sampled_from(["a", "b", "c", "", "-x", "+y", "@@"])), st.lists(st.sampled_from(["a", "b", "c", "-x"]))
)
def test_a_diff_leads_from_one_source_to_the_other(old: list[str], new: list[str]) -> None:
    found = diff("model", "\n".join(old), "\n".join(new))
    removed = [line.text[1:] for line in found.lines if line.kind == "removed"]
    added = [line.text[1:] for line in found.lines if line.kind == "added"]
    before, after = "\n".join(old).splitlines(), "\n".join(new).splitlines()
    assert len(before) - len(removed) == len(after) - len(added)
    assert sorted(before + added) == sorted(after + removed)
    assert (found.added, found.removed) == (len(added), len(removed))
