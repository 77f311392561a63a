"""The cells of a study's table: which runs stand in which, and what they say together."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from improve.errors import DataError
from improve.record.journal import JOURNAL
from improve.record.runs import Cost
from improve.report.study.cells import Cell, Table
from improve.report.study.layout import study_tables
from improve.report.study.printed import METHODS, PrintedTable, llm_label, tables
from improve.report.study.runs import StudyRun, load_runs
from improve.report.study.shown import shown
from improve.report.study.words import endings, notes, story, warnings
from tests.support.made_study import run, trials

DEFAULTS = {
    "llm.name": "o1", "llm.model": "openai/o1", "dataset.name": "cifar10", "strategy.name": "iterative",
    "strategy.unified_initialization": "true", "protocol": "honest", "verified": "true",
}  # fmt: skip


def made(
    accuracy: float | None, seed: int = 0, study: str = "table1", finished: bool = True, **settings: str
) -> StudyRun:
    """A run as its journal would be read."""
    values = DEFAULTS | {key.replace("__", "."): value for key, value in settings.items()}
    return StudyRun(
        folder=Path("x"), name=f"{seed}", study=study, started_at=f"{seed}", settings=values, seed=seed,
        state=("failed" if accuracy is None else "scored") if finished else "unfinished", why="",
        accuracy=accuracy if finished else None, first=0.5, selection=0.6, tokens=100, usd=0.5, minutes=10.0,
        rule_based=False, replayed=False, verified=values["verified"] == "true",
        paper_protocol=values["protocol"] == "paper", steps=(), strata={}, components=None,
        origin={"version": "1", "commit": "a", "hardware": "b"},
    )  # fmt: skip


def table_of(folder: Path) -> Table:
    (table,) = study_tables(load_runs([folder])[0])
    return table


def cell(table: Table, llm: str, dataset: str, column: str, more: str = "") -> Cell:
    (found,) = [
        one
        for one in table.all()
        if (one.row.llm, one.row.dataset, one.column.method.name) == (llm, dataset, column)
        and more in one.row.details + one.column.label
        and (one.runs or not more)
    ]
    return found


def test_a_cell_says_what_its_runs_say(tmp_path: Path) -> None:
    trials(tmp_path, "table4", [0.90, 0.92, 0.97, None], llm="o1", dataset="cifar10")
    run(tmp_path, "table4", 0.99, llm="o1", dataset="cifar10", finished=False, tests=(), seed=9)
    trials(tmp_path, "table4", [0.91], llm="o1", dataset="cifar10", strategy="global", usd=(None, None, None))
    table = table_of(tmp_path)
    one = cell(table, "o1", "cifar10", "improve")
    assert (one.n, one.count("failed"), one.count("unfinished")) == (3, 1, 1)
    assert one.mean == pytest.approx(0.93)
    assert one.std == pytest.approx(0.0360555)  # sqrt((0.03² + 0.01² + 0.04²) / 2)
    assert one.first == pytest.approx(0.83)
    assert (one.tokens, one.usd, one.minutes) == (pytest.approx(3000), pytest.approx(0.03), pytest.approx(2.0))
    assert one.difference == pytest.approx(0.93 - 0.9825)
    words = shown(one)
    assert words.line == "0.9300 ± 0.0361 (n = 3, 1 failed, 1 unfinished); paper 0.9825 ± 0.0018, -5.25 pp"
    assert words.cost == "3.0k tokens · 0.0300 USD · 2.0 minutes"
    other = cell(table, "o1", "cifar10", "no_ir")
    assert (other.n, other.std, other.usd) == (1, None, None)
    assert shown(other).line == "0.9100 (n = 1); paper 0.9579 ± 0.0364, -4.79 pp"
    assert "price unknown" in shown(other).cost
    assert any("no pipeline could be scored" in ending for ending in endings(table))
    assert "4 with a score, 1 failed, 1 unfinished" in story(table)[0]
    trials(tmp_path, "table4", [None], llm="o3", dataset="cifar10")
    (ending,) = (one for one in endings(table_of(tmp_path)) if "no pipeline could be scored" in one)
    assert " and 1 other run: " in ending, "a reason is said once"
    assert "and an unknown price (1 run)" in story(table)[1]


def test_cells_without_a_run_are_shown_as_such(tmp_path: Path) -> None:
    trials(tmp_path, "table4", [0.9], llm="gpt-4o", dataset="tiny_imagenet")
    table = table_of(tmp_path)
    assert len(table.all()) == 12
    assert [row.label for row in table.rows][:2] == ["TinyImageNet, gpt-4o", "CIFAR-10, o1"]
    assert shown(cell(table, "o1", "cifar10", "no_ir")).line == "no run; paper 0.9579 ± 0.0364"
    assert story(table)[2].startswith("11 of the table's 12 cells have no run")


def test_runs_of_other_models_and_datasets_get_rows_without_a_printed_number(tmp_path: Path) -> None:
    trials(tmp_path, "table1", [0.5, 0.6], llm="offline", model="offline/expert", dataset="dsprites_orientation")
    trials(tmp_path, "table1", [0.5], llm="o1", model="openai/o3", dataset="cifar10")
    trials(tmp_path, "table1", [0.5], llm="o1", model="openai/o1-2024-12-17", dataset="cifar10")
    table = table_of(tmp_path)
    assert cell(table, "offline", "dsprites_orientation", "improve").printed is None
    assert cell(table, "o1 (o3)", "cifar10", "improve").printed is None
    assert cell(table, "o1", "cifar10", "improve").printed is not None
    assert "rule-based expert, no language model" in table.rows[-8].model
    assert any("rule-based" in note for note in notes(table))


def test_what_differs_is_never_averaged(tmp_path: Path) -> None:
    place = {"llm": "o1", "dataset": "cifar10"}
    trials(tmp_path, "table1", [0.80, 0.82], **place)
    trials(tmp_path, "table1", [0.98, 0.96], **place, protocol="paper")
    trials(tmp_path, "table1", [0.10], **place, verified=False)
    trials(tmp_path, "table1", [0.70], **place, settings={"prompts": {"name": "small"}})
    trials(tmp_path, "table1", [0.60], **place, settings={"dataset": {"subset": 500}})
    trials(tmp_path, "table1", [0.50], **place, strategy="zero_shot")
    table = table_of(tmp_path)
    assert sorted(one.mean for one in table.all() if one.mean) == [
        pytest.approx(mean) for mean in (0.10, 0.50, 0.60, 0.70, 0.81, 0.97)
    ]
    optimistic = cell(table, "o1", "cifar10", "improve", "protocol=paper")
    assert [run.paper_protocol for run in optimistic.runs] == [True, True]
    assert shown(optimistic).marks == "†"
    labels = [row.label for row in table.rows if any(one.runs for one in table.line(row))]
    assert len(labels) == 4
    assert any("unverified" in label for label in labels)
    assert [column.label for column in table.columns] == [
        "IMPROVE, prompts.name=???", "IMPROVE, prompts.name=small", "Zero-shot",
    ]  # fmt: skip
    assert len(warnings(table)) == 2


def test_other_images_under_the_same_name_are_no_trials_of_one_cell() -> None:
    runs = [made(0.5, dataset__fingerprint="aa"), made(0.9, seed=1, dataset__fingerprint="bb")]
    (table,) = study_tables(runs)
    assert sorted(one.n for one in table.filled) == [1, 1]


def test_a_study_of_ones_own_has_the_columns_that_vary(tmp_path: Path) -> None:
    for text in ("improve", "small"):
        trials(tmp_path, "prompts", [0.5, 0.6], settings={"prompts": {"name": text}})
    trials(tmp_path, "prompts", [0.4], llm="offline", model="offline/expert")
    trials(tmp_path, "prompts", [0.3], llm="offline_random", model="offline/random")
    trials(tmp_path, "prompts", [0.2], strategy="best_of_n", settings={"strategy": {"unified_initialization": False}})
    table = table_of(tmp_path)
    assert table.paper is None
    assert {row.label for row in table.rows} == {"shapes, gpt-4o", "shapes, offline"}
    assert {column.label for column in table.columns} >= {
        "iterative, prompts.name=improve", "iterative, prompts.name=small", "iterative, random choices", "best of n",
    }  # fmt: skip
    assert cell(table, "offline", "shapes", "random").mean == pytest.approx(0.3)


def test_each_study_has_a_table_and_runs_without_one_come_last(tmp_path: Path) -> None:
    for study in ("b", "", "a"):
        trials(tmp_path, study, [0.5])
    assert [table.study for table in study_tables(load_runs([tmp_path])[0])] == ["a", "b", ""]


def test_the_study_of_the_whole_paper_gives_its_tables(tmp_path: Path) -> None:
    place = {"llm": "o1", "dataset": "tiny_imagenet"}
    trials(tmp_path, "paper", [0.8, 0.9], **place)
    trials(tmp_path, "paper", [0.7], **place, strategy="global")
    trials(tmp_path, "paper", [0.6], llm="offline", model="offline/expert")
    made = study_tables(load_runs([tmp_path])[0])
    assert [(table.name, len(table.runs)) for table in made] == [
        ("table1", 2), ("table4", 3), ("table5", 2), ("table6", 2), ("figure2", 3), ("paper", 1),
    ]  # fmt: skip
    assert cell(made[1], "o1", "tiny_imagenet", "no_ir").mean == pytest.approx(0.7)


def test_runs_that_cannot_be_read_or_are_there_twice_are_named(tmp_path: Path) -> None:
    trials(tmp_path, "s", [0.5, 0.7])
    broken = run(tmp_path, "s", 0.9, seed=2)
    (broken / JOURNAL).write_bytes(b"x" + (broken / JOURNAL).read_bytes())
    folder = next(path for path in (tmp_path / "s").iterdir() if "seed0" in path.name)
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / JOURNAL).write_bytes((folder / JOURNAL).read_bytes())
    (tmp_path / "s" / "empty").mkdir()
    runs, left_out = load_runs([tmp_path, tmp_path / "s"])
    assert sorted(run.accuracy or 0 for run in runs) == [pytest.approx(0.5), pytest.approx(0.7)]
    assert len(left_out) == 2
    assert any("is a copy of" in note for note in left_out)
    assert any("damaged" in note for note in left_out)
    with pytest.raises(DataError, match="holds no run"):
        load_runs([tmp_path / "s" / "empty"])


def test_a_journal_that_generated_code_left_is_not_a_run(tmp_path: Path) -> None:
    real = run(tmp_path, "s", 0.5)
    forged = run(tmp_path / "elsewhere", "s", 1.0, seed=1)
    inside = real / "work" / "000"
    inside.mkdir(parents=True)
    (inside / JOURNAL).write_bytes((forged / JOURNAL).read_bytes())
    runs, _ = load_runs([tmp_path / "s"])
    assert [run.accuracy for run in runs] == [0.5]


SETTINGS = st.fixed_dictionaries(
    {
        "llm__name": st.sampled_from(["o1", "gpt-4o", "offline"]),
        "dataset__name": st.sampled_from(["cifar10", "shapes"]),
        "strategy__name": st.sampled_from(["iterative", "global", "zero_shot"]),
        "protocol": st.sampled_from(["honest", "paper"]),
        "strategy__iterations": st.sampled_from(["8", "20"]),
    }
)
RUNS = st.lists(st.tuples(st.one_of(st.none(), st.floats(0, 1)), st.booleans(), SETTINGS), min_size=1, max_size=14)


def _runs(values: list[tuple[float | None, bool, dict[str, str]]]) -> list[StudyRun]:
    return [made(accuracy, seed, finished=done, **more) for seed, (accuracy, done, more) in enumerate(values)]


def _content(table: Table) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(one.row.label, one.column.label, tuple(run.name for run in one.runs)) for one in table.all()]


@given(RUNS, st.randoms(use_true_random=False))
def test_the_order_of_the_runs_does_not_matter(
    values: list[tuple[float | None, bool, dict[str, str]]], rng: object
) -> None:
    runs = _runs(values)
    mixed = list(runs)
    rng.shuffle(mixed)  # type: ignore[attr-defined]
    assert _content(study_tables(runs)[0]) == _content(study_tables(mixed)[0])


@given(RUNS)
def test_every_run_is_in_one_cell_with_runs_like_it_alone(
    values: list[tuple[float | None, bool, dict[str, str]]],
) -> None:
    runs = _runs(values)
    (table,) = study_tables(runs)
    assert sorted(run.seed for one in table.all() for run in one.runs) == [run.seed for run in runs]
    for one in table.filled:
        assert len({tuple(sorted(run.settings.items())) for run in one.runs}) == 1
        known = [run.accuracy for run in one.runs if run.accuracy is not None]
        assert one.mean == (statistics.fmean(known) if known else None)


@given(RUNS, st.booleans(), SETTINGS)
def test_a_failed_or_killed_run_changes_no_mean(
    values: list[tuple[float | None, bool, dict[str, str]]], finished: bool, settings: dict[str, str]
) -> None:
    def means(runs: list[StudyRun]) -> list[float]:
        return sorted(one.mean for table in study_tables(runs) for one in table.all() if one.mean is not None)

    runs = _runs(values)
    assert means([*runs, made(None, seed=99, finished=finished, **settings)]) == means(runs)


def test_the_papers_figures_agree_with_each_other() -> None:
    """A cell that several tables print is the same in all of them."""
    seen: dict[tuple[str, str, str], set[tuple[float, float]]] = {}
    for table in tables().values():
        for row in table.rows:
            for name, printed in row.cells.items():
                assert name in METHODS
                assert 0 < printed.std < printed.mean < 1
                seen.setdefault((row.llm, row.dataset, name), set()).add((printed.mean, printed.std))
    assert all(len(values) == 1 for values in seen.values())
    assert [_shape(tables()[f"table{n}"]) for n in range(1, 7)] == [(8, 2), (4, 2), (8, 2), (4, 3), (4, 3), (6, 2)]
    assert sum(printed.mean for row in tables()["table5"].rows for printed in row.cells.values()) == pytest.approx(
        9.6317
    )


def _shape(table: PrintedTable) -> tuple[int, int]:
    return len(table.rows), len(table.methods)


def test_what_a_run_spent_is_that_of_its_steps(tmp_path: Path) -> None:
    run(tmp_path, "s", 0.7)
    ((read,), _) = load_runs([tmp_path])
    assert [step.spent for step in read.steps] == [
        Cost(1000 * k, pytest.approx(0.01 * k), pytest.approx(30.0 * k)) for k in (1, 2, 3)
    ]
    assert [step.best for step in read.steps] == [pytest.approx(value) for value in (0.6, 0.7, 0.7)]
    assert [step.component for step in read.steps] == ["first", "model", "data"]
    assert (read.first, read.accuracy, read.flattery) == (pytest.approx(0.6), pytest.approx(0.7), pytest.approx(0))


@pytest.mark.parametrize(
    ("name", "model", "label"),
    [
        ("o1", "openai/o1-2024-12-17", "o1"),
        ("o1", "openai/o3", "o1 (o3)"),
        ("local", "openai/qwen2.5-coder-1.5b", "local (qwen2.5-coder-1.5b)"),
        ("mine", "openai/gpt-5", "mine"),
    ],
)
def test_a_row_names_the_model_where_its_option_may_be_given_any(name: str, model: str, label: str) -> None:
    assert llm_label({"llm.name": name, "llm.model": model}) == label
