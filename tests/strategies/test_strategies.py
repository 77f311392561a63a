"""The strategies and baselines: whom they ask, what they train, what becomes of it; resumed at every step."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from improve.datasets import Dataset, prepare
from improve.domain import COMPONENTS, Pipeline
from improve.record.journal import JOURNAL, Record, lines, read
from improve.record.kinds import without_durations
from improve.refinement.guard import violation
from improve.strategies import Candidate
from improve.strategies.iterative import Iterative
from tests.support import components
from tests.support.made_executor import Refined, config_of, refine
from tests.support.scripted_llm import scripted_llm

SMALL = ("dataset.train=300", "dataset.selection=200", "dataset.test=200")
SEED = 2  # with it the best of four zero-shot pipelines is the second
STRATEGIES = {
    "iterative": ("strategy=iterative",),
    "global": ("strategy=global",),
    "zero_shot": ("strategy=zero_shot",),
    "best_of_n": ("strategy=best_of_n",),
    "random": ("strategy=iterative", "llm=offline_random"),
}


@pytest.fixture(scope="module")
def digits(cache: Path) -> Dataset:
    return prepare(config_of(*SMALL).dataset, cache, lambda note: None)


@pytest.fixture(scope="module")
def runs(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Refined]:
    """A run of three iterations by each strategy."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        name: refine(folder / name, digits, *SMALL, *overrides, "strategy.iterations=3", f"seed={SEED}")
        for name, overrides in STRATEGIES.items()
    }


def records(run: Refined, kind: str) -> list[dict[str, Any]]:
    return [record.data for record in read(run.folder / JOURNAL)[0] if record.kind == kind]


def roles(run: Refined, iteration: int) -> list[str]:
    return [call["role"] for call in records(run, "llm") if call["iteration"] == iteration]


def hashes(run: Refined) -> list[dict[str, str]]:
    return [candidate["hashes"] for candidate in records(run, "candidate")]


@pytest.mark.parametrize("name", ["iterative", "random"])
def test_an_iteration_changes_one_component_as_the_hashes_show(runs: dict[str, Refined], name: str) -> None:
    run = runs[name]
    before = {candidate["iteration"]: candidate["hashes"] for candidate in records(run, "candidate")}
    for proposal, candidate in zip(records(run, "proposal"), records(run, "candidate")[1:], strict=True):
        parent = before[candidate["parent"]]
        assert [part for part in COMPONENTS if candidate["hashes"][part] != parent[part]] == [proposal["component"]]
        assert candidate["changed"] == [proposal["component"]]


def test_global_lets_all_engineers_revise_what_they_all_see(runs: dict[str, Refined]) -> None:
    run = runs["global"]
    engineers = ["data_engineer", "model_engineer", "training_engineer"]
    for iteration in range(1, 4):
        assert roles(run, iteration) == ["analyst", *engineers, "summarizer"]
        prompts = [next(run.folder.glob(f"calls/*-{iteration:03d}-{role}.md")).read_text() for role in engineers]
        shown = {tuple(re.findall(r"# present \w+\.py\n(.*?)```", prompt, re.DOTALL)) for prompt in prompts}
        assert len(shown) == 1, "an engineer saw what another one wrote in the same iteration"
        assert all("revise theirs at the same time" in prompt for prompt in prompts)
        assert not any("one component at a time" in prompt for prompt in prompts)
    assert {proposal["component"] for proposal in records(run, "proposal")} == {"all"}
    assert any(len(candidate["changed"]) == 3 for candidate in records(run, "candidate")[1:])
    assert all(verdict["component"] == "all" for verdict in records(run, "verdict"))


def test_a_training_is_told_how_long_that_of_the_pipeline_was_which_it_revises(runs: dict[str, Refined]) -> None:
    run = runs["iterative"]
    first, *others = run.executor.references[: len(run.executor.fitted)]
    assert first is None
    known = {"steps_that_fit": 50, "step_seconds": 0.01, "steps_per_epoch": 10, "batch_size": 64, "compiled": ""}
    changed = [candidate["changed"] for candidate in records(run, "candidate")[1:]]
    assert [other for other in others if other] == [
        {**known, "same_but_training": components == ["training"]} for components in changed
    ]
    assert runs["best_of_n"].executor.references == [None] * 4


def test_zero_shot_asks_one_prompt_and_trains_once(runs: dict[str, Refined]) -> None:
    run = runs["zero_shot"]
    (call,) = records(run, "llm")
    assert call["role"] == "zero_shot"
    prompt = (run.folder / call["file"]).read_text()
    assert "Generate code for training a model on a dataset with 10 classes." in prompt
    assert "class Model(ImageClassifier)" in prompt
    assert "dataset card" not in prompt
    assert "Handwritten" not in prompt
    assert run.executor.fitted == [0]
    assert run.executor.tested == [0]
    assert [test["which"] for test in records(run, "test")] == ["first", "best"]


def test_best_of_n_keeps_the_best_of_as_many_trainings(runs: dict[str, Refined]) -> None:
    run = runs["best_of_n"]
    assert [call["role"] for call in records(run, "llm")] == ["zero_shot"] * 4
    assert len({tuple(sorted(each.items())) for each in hashes(run)}) == 4
    assert run.executor.fitted == runs["iterative"].executor.fitted == [0, 1, 2, 3]
    assert all(candidate["parent"] is None for candidate in records(run, "candidate"))
    scores = [record["accuracy"] for record in records(run, "score")]
    best = scores.index(max(scores))
    assert run.workshop.incumbent is not None
    assert run.workshop.incumbent.iteration == best == 1
    assert run.executor.tested == [0, best]


def test_the_first_of_n_is_the_zero_shot_pipeline_of_the_same_seed(runs: dict[str, Refined]) -> None:
    assert hashes(runs["best_of_n"])[0] == hashes(runs["zero_shot"])[0]


@pytest.mark.parametrize("name", ["zero_shot", "random"])
def test_chance_follows_the_seed(name: str, runs: dict[str, Refined], digits: Dataset, tmp_path: Path) -> None:
    def again(seed: int) -> list[dict[str, str]]:
        overrides = (*SMALL, *STRATEGIES[name], "strategy.iterations=3", f"seed={seed}")
        return hashes(refine(tmp_path / str(seed), digits, *overrides))

    assert again(SEED) == hashes(runs[name])
    assert again(SEED + 1) != hashes(runs[name])


def test_the_random_expert_starts_as_the_expert_and_chooses_otherwise(runs: dict[str, Refined]) -> None:
    drawn, chosen = runs["random"], runs["iterative"]
    assert hashes(drawn)[0] == hashes(chosen)[0]
    assert hashes(drawn)[1:] != hashes(chosen)[1:]
    assert all("drawn at random" in proposal["diagnosis"] for proposal in records(drawn, "proposal"))


@pytest.mark.parametrize("name", ["global", "best_of_n"])
def test_a_resumed_run_asks_and_trains_nothing_twice(
    name: str, runs: dict[str, Refined], digits: Dataset, tmp_path: Path
) -> None:
    whole = read(runs[name].folder / JOURNAL).records
    for stop in range(0, len(whole), 7):
        folder = tmp_path / str(stop)
        shutil.copytree(runs[name].folder, folder)
        (folder / JOURNAL).write_text("".join(lines(whole[:stop])), encoding="utf-8")
        again = refine(folder, digits, *SMALL, *STRATEGIES[name], "strategy.iterations=3", f"seed={SEED}")
        assert steps(read(folder / JOURNAL)[0]) == steps(whole)
        trained = [
            (record.data["iteration"], record.data["replicate"]) for record in whole[:stop] if record.kind == "training"
        ]
        made = [(iteration, 0) for iteration in again.executor.fitted] + again.executor.again
        before = runs[name].executor
        assert trained + made == [(iteration, 0) for iteration in before.fitted] + before.again


def steps(found: list[Record]) -> list[tuple[str, Any]]:
    return [(record.key, without_durations(record.data)) for record in found]


PARTS = st.fixed_dictionaries({name: st.sampled_from(["a = 1\n", "b = 2\n"]) for name in COMPONENTS})


@given(PARTS, PARTS, st.sampled_from([*COMPONENTS, "all"]))
def test_the_guard_lets_through_what_changes_its_own_component_alone(
    before: dict[str, str], after: dict[str, str], component: str
) -> None:
    changed = {name for name in COMPONENTS if before[name] != after[name]}
    failure = violation(component, Pipeline(**after), Pipeline(**before))
    assert (failure is None) == (bool(changed) if component == "all" else changed == {component})


def test_a_candidate_that_changes_another_component_is_none(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cheating(self: Iterative, workshop: Any, iteration: int) -> Candidate:
        if not workshop.has_incumbent:
            return honest(self, workshop, iteration)
        both = workshop.incumbent.pipeline.with_component("data", components.DATA)
        return Candidate("data", both.with_component("model", components.model()))

    honest = Iterative.candidate
    monkeypatch.setattr(Iterative, "candidate", cheating)
    run = refine(tmp_path, digits, *SMALL, "strategy.repairs=0", "strategy.iterations=1")
    verdict = records(run, "verdict")[1]
    assert verdict["verdict"] == "failed"
    assert "data.py may not change model.py" in verdict["note"]
    assert run.executor.fitted == [0]
    assert verdict["incumbent"] == 0


@pytest.mark.parametrize("name", ["zero_shot", "best_of_n"])
def test_a_reply_without_a_pipeline_is_a_failed_iteration(name: str, digits: Dataset, tmp_path: Path) -> None:
    with scripted_llm(lambda system, user: "Use a neural network.") as server:
        llm = ("llm=local", f"llm.api_base={server.base}", f"strategy={name}", "strategy.iterations=1")
        run = refine(tmp_path, digits, *SMALL, *llm)
    verdicts = [record["verdict"] for record in records(run, "verdict")]
    assert verdicts == ["failed"] * (1 if name == "zero_shot" else 2)
    assert run.executor.fitted == []
    assert {call["role"] for call in records(run, "llm")} == {"zero_shot"}


def test_a_broken_zero_shot_pipeline_is_not_repaired(digits: Dataset, tmp_path: Path) -> None:
    broken = components.first_pipeline().replace("from torch import nn", "from torch import nn\nimport nope")
    with scripted_llm(lambda system, user: broken) as server:
        llm = ("llm=local", f"llm.api_base={server.base}", "strategy=zero_shot")
        run = refine(tmp_path, digits, *SMALL, *llm)
    assert len(server.requests) == 1
    assert records(run, "verdict")[0]["verdict"] == "failed"
