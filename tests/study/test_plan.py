"""The studies of conf/experiment: which runs each of them means, narrowed or not, and what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from improve.config.schema import Config
from improve.run import main
from improve.study.plan import Plan
from tests.support.planned import combined, planned

Cell = tuple[str, str, str]  # dataset, llm, strategy
BIG = ("o1", "gpt-4o")
# The cells of the paper's tables (section 4, appendix A.1), each of three trials.
PAPER: dict[str, set[Cell]] = {
    "table1": {
        (d, m, s)
        for d in ("cifar10", "cifar10c1", "cifar10c5", "tiny_imagenet")
        for m in BIG
        for s in ("iterative", "zero_shot")
    },
    "table2": {(d, m, s) for d in ("svhn", "dsprites_orientation") for m in BIG for s in ("iterative", "zero_shot")},
    "table3": {
        (d, m, s)
        for d in ("cassava", "animals4", "arabic_letters", "kitchenware")
        for m in BIG
        for s in ("iterative", "zero_shot")
    },
    "table4": {
        (d, m, s) for d in ("cifar10", "tiny_imagenet") for m in BIG for s in ("iterative", "global", "zero_shot")
    },
    "table5": {
        (d, m, s)
        for d in ("cifar10", "tiny_imagenet")
        for m in BIG
        for s in ("iterative", "iterative without unified initialization", "zero_shot")
    },
    "table6": {
        (d, m, s)
        for d in ("cifar10", "tiny_imagenet")
        for m in (*BIG, "gpt-4o-mini")
        for s in ("iterative", "zero_shot")
    },
    "figure2": {("tiny_imagenet", "o1", s) for s in ("iterative", "global")},
}


def cell(config: Config) -> Cell:
    return config.dataset.name, config.llm.name, _how(config.strategy.name, config.strategy.unified_initialization)


def _how(strategy: str, unified: bool) -> str:
    return strategy if unified or strategy == "zero_shot" else f"{strategy} without unified initialization"


def trials(plan: Plan) -> Counter[Cell]:
    """How many different seeds each cell has."""
    return Counter(c for c, _ in {(cell(job.config), job.config.seed) for job in plan.jobs})


@pytest.mark.parametrize("name", PAPER)
def test_a_table_has_the_cells_of_the_paper_three_times(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = combined([f"experiment={name}"], monkeypatch)
    unified = "strategy.unified_initialization"
    runs = {(a["dataset"], a["llm"], _how(a["strategy"], a.get(unified) != "False"), a["seed"]) for a in asked}
    assert runs == {(*c, seed) for c in PAPER[name] for seed in "012"}


@pytest.mark.parametrize("name", ["table3", "table5"])
def test_a_table_has_the_papers_iterations(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned([f"experiment={name}", "dataset=digits", "llm=o1", "seed=0", "strategy=iterative"], monkeypatch)
    assert len(plan.jobs) == (2 if name == "table5" else 1)
    for job in plan.jobs:
        assert (job.folder.parent.name, job.config.study) == (name, name)
        assert (job.config.strategy.iterations, job.config.protocol) == (20, "honest")


def test_the_tables_share_runs_in_one_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    plans = {
        name: planned([f"experiment={name}", "study=paper", "llm=o1", "dataset=tiny_imagenet", "seed=0"], monkeypatch)
        for name in ("table1", "table4", "figure2")
    }
    folders = {name: {job.folder for job in plan.jobs} for name, plan in plans.items()}
    assert folders["table1"] < folders["table4"]
    assert folders["figure2"] < folders["table4"]


def test_only_the_roles_of_table_2_are_told_the_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(["experiment=table2", "llm=o1", "seed=0"], monkeypatch)
    models = {(c.strategy.name, c.dataset.constraints.model) for c in (job.config for job in plan.jobs)}
    assert models == {("iterative", "ViT-B/16"), ("zero_shot", None)}


def test_an_axis_is_narrowed_also_to_what_the_file_does_not_list(monkeypatch: pytest.MonkeyPatch) -> None:
    (job,) = planned(
        ["experiment=table1", "dataset=digits", "llm=offline", "strategy=global", "seed=7"], monkeypatch
    ).jobs
    assert cell(job.config) == ("digits", "offline", "global")
    assert (job.config.seed, job.config.strategy.iterations) == (7, 20)
    plan = planned(
        ["experiment=table5", "llm=offline", "dataset=digits", "seed=0,1", "strategy=zero_shot"], monkeypatch
    )
    assert len(plan.jobs) == 2
    assert plan.same == 2


def test_the_baselines_have_as_many_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(["experiment=baselines", "llm=gpt-4o,o1", "seed=0", "strategy.iterations=5"], monkeypatch)
    data = "dsprites_orientation"
    asked = {(data, m, s) for m in ("gpt-4o", "o1") for s in ("iterative", "global", "best_of_n", "zero_shot")}
    # Drawing at random is nobody's model: it is there once.
    assert trials(plan) == dict.fromkeys(asked | {(data, "offline_random", "iterative")}, 1)
    for job in plan.jobs:
        strategy = job.config.strategy
        assert strategy.iterations == (0 if strategy.name == "zero_shot" else 5)
        assert job.config.acceptance.rule == ("paper" if strategy.name == "best_of_n" else "racing")


def test_a_table_can_be_made_by_the_papers_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(["experiment=table4", "protocol=paper", "llm=o1", "dataset=cifar10", "seed=0"], monkeypatch)
    assert len(plan.jobs) == 3
    for config in (job.config for job in plan.jobs):
        assert (config.protocol, config.acceptance.rule, config.strategy.repairs) == ("paper", "paper", 0)


@pytest.mark.parametrize(("name", "cells"), [("smoke", 2), ("small_table4", 6), ("small_table5", 6)])
def test_a_small_study_asks_nobody_who_is_paid(name: str, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = combined([f"experiment={name}"], monkeypatch)
    assert Counter(a["seed"] for a in asked).keys() == ({"0", "1"} if name == "smoke" else {"0", "1", "2"})
    plan = planned([f"experiment={name}", "seed=0"], monkeypatch)
    assert set(trials(plan).values()) == {1}
    assert len(trials(plan)) == cells
    assert {job.config.llm.model.split("/")[0] for job in plan.jobs} == {"offline"}


def test_a_users_own_dataset_has_its_path_in_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "flowers.yaml").write_text(
        f"defaults: [folder, _self_]\nname: flowers\npath: {tmp_path}\ndescription: Photos of flowers.\n"
    )
    arguments = ["--config-dir", str(tmp_path), "experiment=small_table1", "dataset=flowers,digits", "seed=0"]
    plan = planned([*arguments, "strategy=iterative"], monkeypatch)
    assert [(job.config.dataset.name, job.config.dataset.path) for job in plan.jobs] == [
        ("flowers", str(tmp_path)),
        ("digits", None),
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-m", "experiment=table1,table4"], "table1 and table4 would lose the axes"),
        (["-m", "experiment=glob(smok*)"], "smoke would lose the axes"),
        (["-m", "dataset=glob(zz*)"], "gives no value, so nothing would run"),
        (["experiment=smoke", "seed=range(0)"], "seed=range(0) gives no value"),
        (["experiment=smoke", "run_dir=here"], "run_dir=here is the folder of one run"),
        (["experiment=smoke", "strategy=iterative,zeroshot"], "did you mean zero_shot"),
        (["experiment=smoke,table1"], "-m"),
    ],
)
def test_what_would_run_as_something_else_is_refused(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([*arguments, f"outputs={tmp_path / 'outputs'}"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert says in captured.err
    assert "fix: " in captured.err
    assert captured.out == ""
    assert not (tmp_path / "outputs").exists()
