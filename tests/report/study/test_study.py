"""The report on a study as files: tables in each format, the page, the figures and their numbers, the command."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from improve.cli import main
from improve.datasets.corruptions import NAMES
from improve.errors import ConfigError, DataError
from improve.record.history import History
from improve.refinement.final import _by_stratum
from improve.report.escapes import tex
from improve.report.study import leaderboards, write_study
from improve.report.study.layout import study_tables
from improve.report.study.runs import load_runs
from improve.report.study.trajectories import along, by_iteration, candidates, failures, gains
from tests.report.test_page import POISON, Page
from tests.support.made_run import Maker
from tests.support.made_study import run, trials
from tests.support.refined import FAILED

LATEX = shutil.which("pdflatex")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on two studies, one of them with names as nasty as they get."""
    folder = tmp_path_factory.mktemp("study")
    for strategy, accuracies in (("iterative", [0.95, 0.96, 0.98]), ("global", [0.90, 0.93, None])):
        trials(folder, "table4", accuracies, llm="o1", dataset="cifar10", strategy=strategy)
    trials(folder, "table4", [0.97], llm="o1", dataset="cifar10", protocol="paper")
    trials(folder, "own", [0.5], dataset=POISON, llm="50% $x_1$ & ünï #1", verified=False)
    (next((folder / "table4").glob("*seed0*")) / "run.html").write_text("its page")
    write_study([folder], folder)
    return folder


def test_the_csv_holds_every_cell(study: Path) -> None:
    rows = list(csv.DictReader((study / "table.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["study"] for row in rows].count("table4") == 3 * 5  # a row more than the paper's: another protocol
    (honest,) = [
        row for row in rows if row["protocol"] == "honest" and row["column"] == "improve" and row["paper_mean"]
    ]
    expected = {
        "dataset": "cifar10", "llm": "o1", "row_settings": "protocol=honest", "runs": "3", "n": "3", "failed": "0",
        "paper_mean": "0.9825", "paper_std": "0.0018", "verified": "True", "rule_based": "False",
    }  # fmt: skip
    assert {key: honest[key] for key in expected} == expected
    numbers = {"mean": 0.963333, "std": 0.0152753, "difference": -0.019167, "tokens_mean": 3000, "usd_all": 0.09}
    assert {key: float(honest[key]) for key in numbers} == {k: pytest.approx(v, abs=1e-6) for k, v in numbers.items()}
    (global_,) = [row for row in rows if row["column"] == "no_ir" and row["runs"] == "3"]
    assert (global_["n"], global_["failed"], global_["tokens_all"]) == ("2", "1", "9000")
    missing = next(row for row in rows if row["runs"] == "0")
    assert (missing["mean"], missing["std"], missing["verified"]) == ("", "", "")


def test_figures_of_an_earlier_report_do_not_stay(tmp_path: Path) -> None:
    trials(tmp_path, "own", [0.5, 0.6], dataset="digits")
    trials(tmp_path, "own", [None], dataset="svhn")
    write_study([tmp_path], tmp_path)
    figures = tmp_path / "figures"
    before = {file.name for file in figures.iterdir()}
    for name in ("mine.svg", "mine.png"):
        (figures / name).write_text("a figure of the user's own")
    for folder in (tmp_path / "own").glob("svhn*"):
        shutil.rmtree(folder)
    write_study([tmp_path], tmp_path)
    after = {file.name for file in figures.iterdir()}
    gone = before - after
    assert {"failures.svg", "failures.png"} <= gone
    assert not any("digits" in name for name in gone)
    assert after - before == {"mine.svg", "mine.png"}


def test_markdown_says_what_must_be_said(study: Path) -> None:
    text = (study / "table.md").read_text(encoding="utf-8")
    for expected in (
        "| CIFAR-10 | o1, protocol=honest | 0.9633 ± 0.0153 (n = 3); paper 0.9825 ± 0.0018, -1.92 pp |",
        "0.9150 ± 0.0212 (n = 2, 1 failed)",
        "0.9700† (n = 1)",
        "selected on the test set",
        "UNVERIFIED",
        "n too small: 3 and 2 runs",
        "in none of its 4 rows",
        "protocol=honest (the paper's: paper) in 6 of 7",
        "![",
    ):
        assert expected in text, expected
    assert "<script" not in text.replace(r"\<script", "")
    for link in re.findall(r"\]\((figures/[^)]+)\)", text):
        assert (study / link).is_file()
        assert (study / link).with_suffix(".png").is_file()


def test_latex_has_nothing_that_latex_trips_over(study: Path) -> None:
    text = (study / "table.tex").read_text(encoding="utf-8")
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 2
    assert r"$0.9633 \pm$" not in text
    assert r"0.9633 $\pm$ 0.0153" in text
    assert r"{\scriptsize 0.9825 $\pm$ 0.0018}" in text
    assert r"{\scriptsize -1.92 pp}" in text
    assert r"50\% \$x\_1\$ \& ünï \#1" in text
    bare = re.sub(r"\\[\\{}&%$#_]", "", text.split("\n", 1)[1])
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert not set(bare) & set('#_~%|<>"')
    for block in re.findall(r"\\toprule(.*?)\\bottomrule", text, re.DOTALL):
        lines = [line for line in block.splitlines() if line.endswith(r"\\")]
        assert len(lines) > 2
        assert len({len(re.findall(r"(?<!\\)&", line)) for line in lines}) == 1


@pytest.mark.skipif(LATEX is None, reason="no LaTeX on this machine to set the table with")
def test_latex_sets_the_table(study: Path, tmp_path: Path) -> None:
    assert LATEX is not None
    shutil.copy(study / "table.tex", tmp_path)
    (tmp_path / "article.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{table.tex}\end{document}"
    )
    command = [LATEX, "-interaction=nonstopmode", "-halt-on-error", "-output-format=dvi", "article.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]


def test_characters_that_latex_lacks_are_named() -> None:
    assert tex("a_b 5% {x} \\ ± † é ن 图\x1b[31m") == (
        r"a\_b 5\% \{x\} \textbackslash{} $\pm$ $^\dagger$ é [U+0646] [U+56FE]"
    )


def test_the_page_needs_nothing_else_and_runs_nothing_foreign(study: Path) -> None:
    text = (study / "study.html").read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.all("script")) == 1
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "data", "action"):
            value = attributes.get(name)
            own = value is not None and re.fullmatch(r"table4/[\w.-]+/run\.html", value)
            assert own or value is None or value.startswith(("#", "data:image/svg+xml;base64,")), (tag, value)
        assert not [name for name in attributes if name.startswith("on")]
    assert [attributes.get("href") for attributes in page.all("a")].count(
        "table4/cifar10-iterative-o1-seed0-0/run.html"
    ) == 1
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    links = {attributes["href"] for attributes in page.all("a") if str(attributes.get("href")).startswith("#")}
    assert {str(link)[1:] for link in links} <= set(ids)
    assert "default-src 'none'; img-src data:" in text
    for expected in ("0.9633 ± 0.0153", "paper 0.9825 ± 0.0018", "no run", "UNVERIFIED", "none of its 4 rows"):
        assert expected in page.text, expected
    assert len(page.all("img")) == len(list((study / "figures").glob("*.svg"))) == 18


def test_the_report_of_the_same_runs_is_the_same(study: Path, tmp_path: Path) -> None:
    write_study([study / "own"], tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    write_study([study / "own"], tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_iterations_without_a_score_are_left_out_or_shown(tmp_path: Path) -> None:
    run(tmp_path, "s", 0.9, first=0.2, gains=[FAILED, 0.2, 0.0, 0.1], tokens=[10] * 5, usd=(), fit_seconds=[1] * 5)
    run(tmp_path, "s", 0.9, first=0.4, gains=[0.2, 0.0, 0.1, 0.0], tokens=[20] * 5, usd=(), fit_seconds=[1] * 5, seed=1)
    runs, _ = load_runs([tmp_path])
    omitted = by_iteration(runs, omit_failed=True)
    assert omitted.mean.tolist() == pytest.approx([0.3, 0.5, 0.5, 0.6, 0.7])
    assert omitted.n.tolist() == [2, 2, 2, 2, 1]
    assert omitted.std[:3].tolist() == pytest.approx([0.2 / 2**0.5] * 3)
    assert np.isnan(omitted.std[4])
    shown = by_iteration(runs, omit_failed=False)
    assert shown.mean.tolist() == pytest.approx([0.3, 0.4, 0.5, 0.55, 0.6])
    assert shown.n.tolist() == [2] * 5
    assert len(candidates(runs, omit_failed=True)) == 9
    curve = along(runs, lambda cost: cost.tokens)
    assert curve is not None
    assert (curve.places[0], curve.places[-1]) == (20, 50)  # both have a score; the cheaper run ends
    assert curve.mean[0] == pytest.approx((0.2 + 0.4) / 2)
    assert curve.mean[-1] == pytest.approx((0.5 + 0.6) / 2)
    found = {gain.component: gain for gain in gains(runs)}
    assert found["model"].sums == pytest.approx((0.1, 0.2 + 0.0))
    assert (found["data"].kept, found["data"].tried) == (1, 2)
    assert failures(runs) == {"timeout": 1}


def test_ranks_come_from_the_leaderboard_that_is_given(tmp_path: Path) -> None:
    board = tmp_path / "board.csv"
    board.write_text("\ufeffRank,TeamName,Score\n1,a,0.99\n2,b,0.96\n3,c,0.96\n4,d,0.5\n", encoding="utf-8")
    trials(tmp_path / "runs", "table3", [0.95, 0.97], llm="o1", dataset="kitchenware")
    given = ["--leaderboard", f"kitchenware={board}"]
    assert main(["report", str(tmp_path / "runs"), *given]) == 0
    text = (tmp_path / "runs" / "table.md").read_text()
    line = next(line for line in text.splitlines() if "board.csv" in line)
    assert "| 0.9600 ± 0.0141 | 2/4 | 2 to 4 | board.csv | 31/115 |" in line
    assert "not on Kaggle's hidden test set" in text


@pytest.mark.parametrize(
    ("argument", "content", "error", "words"),
    [
        ("kitchenware", "", ConfigError, "is not DATASET=FILE"),
        ("kitchenware={}", "Rank,Points\n1,3\n", DataError, "its columns are Rank, Points"),
        ("kitchenware={}", "", DataError, "it has no rows"),
        ("kitchenware={}", "Score\n0.5\nhigh\n", DataError, "line 3: the score 'high'"),
        ("kitchenware={}", "Score\n97.5\n", DataError, "97.5 is no accuracy between 0 and 1"),
        ("kitchenware=missing.csv", "", DataError, "cannot be read"),
    ],
)
def test_what_is_no_leaderboard_is_refused(
    argument: str, content: str, error: type[Exception], words: str, tmp_path: Path
) -> None:
    file = tmp_path / "board.csv"
    file.write_text(content)
    with pytest.raises(error, match=re.escape(words)):
        leaderboards([argument.format(file)])


def test_the_command_refuses_what_it_cannot_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trials(tmp_path / "runs", "s", [0.5])
    (tmp_path / "file").write_text("")
    board = tmp_path / "board.csv"
    board.write_text("Score\n0.5\n")
    for arguments, code, words in (
        ([str(tmp_path / "nothing")], 3, "is not a folder"),
        ([str(tmp_path / "runs"), "--leaderboard", f"shape={board}"], 2, "did you mean shapes"),
        ([str(tmp_path / "runs"), "-o", str(tmp_path / "file")], 1, "cannot be written"),
        ([str(next((tmp_path / "runs" / "s").iterdir())), "--leaderboard", f"shapes={board}"], 2, "add --out FOLDER"),
    ):
        assert main(["report", *arguments]) == code
        assert words in capsys.readouterr().err


def test_a_runs_own_folder_gives_its_page_and_several_paths_one_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Maker(tmp_path / "run").write()
    trials(tmp_path / "runs", "s", [0.5])
    assert main(["report", str(made), str(tmp_path / "runs")]) == 0
    assert capsys.readouterr().out.split() == [str(made / "run.html"), str(tmp_path / "runs" / "study.html")]
    assert main(["report", str(made), str(tmp_path / "runs"), "-o", str(tmp_path / "both")]) == 0
    text = (tmp_path / "both" / "table.md").read_text()
    assert text.startswith("# 2 studies")
    test = History.read(made).best_test
    assert test is not None
    assert f"{test['accuracy']:.4f} (n = 1)" in text


def test_accuracy_by_corruption(tmp_path: Path) -> None:
    labels = np.array([0, 1, 2, 0, 1])
    given = np.eye(3, dtype=np.float32)[[0, 1, 1, 0, 0]]
    assert _by_stratum(given, labels, ["fog", "snow", "fog", "fog", "snow"]) == {"fog": [2, 3], "snow": [1, 2]}
    assert _by_stratum(given, labels, []) == {}
    for seed, correct in enumerate((40, 60)):
        strata = dict.fromkeys(NAMES, (correct, 100))
        run(tmp_path, "table1", 0.5, dataset="cifar10c1", llm="o1", strata=strata, seed=seed)
    write_study([tmp_path], tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert text.count("| 0.5000 ± 0.1414 (n = 2) |") == len(NAMES)
    assert "| gaussian noise |" in text


def test_the_study_of_a_folder_is_that_of_the_records(tmp_path: Path) -> None:
    trials(tmp_path / "moved" / "elsewhere", "table1", [0.5])
    (table,) = study_tables(load_runs([tmp_path])[0])
    assert table.study == "table1"
