"""The journal: checksummed, torn lines cut, damaged lines refused, steps done once, one writer."""

from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from improve.errors import ResumeError
from improve.record.journal import JOURNAL, Journal, lines, read

TEXT = st.text(max_size=20)
DATA = st.dictionaries(
    TEXT, st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT, st.none()), max_size=4
)


def fill(folder: Path, count: int = 3) -> None:
    journal = Journal(folder)
    for number in range(count):
        journal.once(f"step-{number}", "llm", lambda number=number: {"number": number})
    journal.close()


@settings(max_examples=30, deadline=None)
@given(data=st.lists(DATA, min_size=1, max_size=5))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, data: list[dict]) -> None:
    folder = tmp_path_factory.mktemp("run")
    journal = Journal(folder)
    for number, values in enumerate(data):
        journal.once(str(number), "kind", lambda values=values: values)
    journal.close()
    records, intact, _ = read(folder / JOURNAL)
    assert [record.data for record in records] == data
    assert intact == (folder / JOURNAL).stat().st_size


def test_a_recorded_step_is_not_done_again(tmp_path: Path) -> None:
    fill(tmp_path)
    journal = Journal(tmp_path)
    seen: list[str] = []
    journal.listeners.append(lambda record: seen.append(record.key))
    assert journal.resumed
    for number in range(3):
        assert journal.once(f"step-{number}", "llm", lambda: pytest.fail("done again")) == {"number": number}
    assert journal.once("step-3", "llm", lambda: {"number": 3}) == {"number": 3}
    journal.close()
    assert seen == ["step-0", "step-1", "step-2", "step-3"]


def test_a_note_is_no_step(tmp_path: Path) -> None:
    fill(tmp_path)
    for number in range(2):
        journal = Journal(tmp_path)
        journal.note("code", {"code": str(number)})
        journal.close()
    journal = Journal(tmp_path)
    for number in range(3):
        assert journal.once(f"step-{number}", "llm", lambda: pytest.fail("done again")) == {"number": number}
    assert journal.upcoming is None
    assert journal.notes("code") == [{"code": "0"}, {"code": "1"}]
    journal.close()
    assert [record.key for record in read(tmp_path / JOURNAL)[0]][-2:] == ["code-0", "code-1"]


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(min_value=1, max_value=60))
def test_a_torn_last_line_is_cut(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("run")
    fill(folder)
    path = folder / JOURNAL
    path.write_bytes(path.read_bytes()[:-cut])
    journal = Journal(folder)
    journal.close()
    assert journal.torn_bytes > 0
    assert [record.key for record in read(path)[0]] == ["step-0", "step-1"]


def test_a_damaged_middle_line_is_refused_with_its_number(tmp_path: Path) -> None:
    fill(tmp_path)
    path = tmp_path / JOURNAL
    path.write_bytes(path.read_bytes().replace(b'"number": 1', b'"number": 7'))
    with pytest.raises(ResumeError, match="line 2"):
        Journal(tmp_path)


def forged(line: str, link: Callable[[str], str]) -> str:
    """A line that says something else, with a checksum of its own."""
    text = line.split(" ", 1)[1].replace('"number": 1', '"number": 7').rstrip("\n")
    return f"{link(text)} {text}\n"


@pytest.mark.parametrize("digits", [16, 32])
def test_a_middle_line_with_its_checksum_made_anew_is_refused(digits: int, tmp_path: Path) -> None:
    fill(tmp_path)
    path = tmp_path / JOURNAL
    first, second, third = path.read_text().splitlines(keepends=True)
    before = first.split(" ", 1)[0]

    def link(text: str) -> str:
        return hashlib.sha256((text if digits == 16 else f"{before} {text}").encode()).hexdigest()[:digits]

    path.write_text(first + forged(second, link) + third)
    with pytest.raises(ResumeError, match=r"line [23]"):
        Journal(tmp_path)


def test_all_lines_made_anew_end_with_another_link(tmp_path: Path) -> None:
    fill(tmp_path)
    path = tmp_path / JOURNAL
    records, _, link = read(path)
    assert path.read_text().splitlines()[-1].startswith(f"{link} ")
    records[0] = dataclasses.replace(records[0], data={"number": 9})
    path.write_text("".join(lines(records)))
    assert read(path).link != link


def test_a_journal_from_before_the_chain_is_read_and_goes_on_chained(tmp_path: Path) -> None:
    fill(tmp_path)
    path = tmp_path / JOURNAL
    texts = [record.text() for record in read(path).records]
    path.write_text("".join(f"{hashlib.sha256(text.encode()).hexdigest()[:16]} {text}\n" for text in texts))
    journal = Journal(tmp_path)
    for number in range(4):
        journal.once(f"step-{number}", "llm", lambda number=number: {"number": number})
    journal.close()
    assert [record.data["number"] for record in read(path).records] == [0, 1, 2, 3]
    # From its first chained line on, it is as strict as any: an old line in it may not change either.
    whole = path.read_text().splitlines(keepends=True)
    text = whole[2].split(" ", 1)[1].rstrip("\n").replace('"number": 2', '"number": 5')
    whole[2] = f"{hashlib.sha256(text.encode()).hexdigest()[:16]} {text}\n"
    path.write_text("".join([*whole, whole[3]]))
    with pytest.raises(ResumeError, match="line 4"):
        read(path)


def test_another_program_may_not_go_on(tmp_path: Path) -> None:
    fill(tmp_path)
    journal = Journal(tmp_path)
    with pytest.raises(ResumeError, match="step-0"):
        journal.once("another-step", "llm", dict)
    journal.close()


def test_a_second_process_is_refused_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    program = "import sys, pathlib; from improve.record.journal import Journal; Journal(pathlib.Path(sys.argv[1]))"
    journal = Journal(tmp_path)
    held = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True)
    journal.close()
    free = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True)
    assert held.returncode != 0
    assert "is in use by process" in held.stderr
    assert free.returncode == 0


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    program = """
import resource, signal, sys, pathlib
from improve.record.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal(pathlib.Path(sys.argv[1]))
journal.once("small", "llm", lambda: {})
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    journal.once("big", "llm", lambda: {"text": "x" * 5000})
except OSError:
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True)
    assert done.stdout == "refused\n", done.stderr
    records, intact, _ = read(tmp_path / JOURNAL)
    assert [record.key for record in records] == ["small"]
    assert intact == (tmp_path / JOURNAL).stat().st_size
