"""Pipelines that try to make up their score, each through the executor, and through a naive one, where they succeed.

An attack under `attacks/pipelines/` is code that is added to a component of an honest pipeline. Its `EXPECT` says what
becomes of it: "honest" (the very answers of the honest pipeline), "chance", or the stage and the reason at which it
fails. The naive executor must end up with another result than for the honest pipeline, or come to harm ("through").
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from improve.agents.team import Assignment
from improve.config.schema import StrategyConfig
from improve.datasets import Dataset
from improve.domain import COMPONENTS, Failure, Verdict
from improve.execution import fit, local, machine
from improve.execution.cell import Cell
from improve.execution.replicates import derived_seed
from improve.judging import audit as audit_module
from improve.judging.acceptance import Paired
from improve.judging.audit import failure_of, subset_size
from improve.judging.scoring import Answers
from improve.record.journal import Journal, Record
from improve.refinement.trials import Trials
from improve.refinement.workshop import Workshop
from improve.sandbox import Sandbox, remove
from improve.sandbox.guarded import LandlockSandbox, PlainSandbox
from improve.sandbox.tier3 import BubblewrapSandbox
from improve.strategies import Candidate, find
from tests.support.bench import (
    ATTACKS,
    CLASSES,
    Bench,
    Result,
    attacking,
    carry_out,
    executor,
    header,
    honest,
    make_task,
)
from tests.support.naive import Naive

NAMES = sorted(path.stem for path in ATTACKS.glob("[a-z]*.py"))
CHANCE = 1 / CLASSES + 4 * np.sqrt(CLASSES - 1) / CLASSES / np.sqrt(200)  # four standard deviations above


@pytest.fixture(scope="module", params=["T3", pytest.param("T1", marks=pytest.mark.slow)])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    return BubblewrapSandbox() if request.param == "T3" else LandlockSandbox()


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Dataset:
    return make_task(tmp_path_factory.mktemp("task"), cache)


@pytest.fixture(autouse=True)
def _short_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No sandbox is started early, and a training that does not end is ended soon."""
    monkeypatch.setattr(machine, "cores", lambda: 1)
    monkeypatch.setattr(fit, "GRACE_SECONDS", 1.0)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox, task: Dataset) -> Iterator[Bench]:
    plain = executor(task, sandbox, tmp_path_factory.mktemp("run"))
    made = Bench(**{f.name: getattr(plain, f.name) for f in dataclasses.fields(plain) if f.init})
    yield made
    made.close()
    remove(made.folder)  # pytest cannot follow what is nested deep


@pytest.fixture(scope="module")
def honest_answers(bench: Bench) -> Answers:
    result = carry_out(bench, 0, honest())
    assert result.given is not None, result.failure
    return result.given


def accuracy(task: Dataset, given: Answers) -> float:
    return float(np.mean(given == task.labels("selection")))


def test_the_honest_pipeline_learns_and_leaves_room_for_lies(task: Dataset, honest_answers: Answers) -> None:
    assert CHANCE + 0.1 < accuracy(task, honest_answers) < 0.95


def outcome(result: Result, honest_answers: Answers) -> str:
    if result.outcome != "scored":
        return result.outcome
    return "honest" if np.array_equal(result.given, honest_answers) else "through"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", NAMES)
def test_attack(
    name: str,
    bench: Bench,
    task: Dataset,
    honest_answers: Answers,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    expected = header(name)["EXPECT"]
    expected = expected.get(bench.sandbox.tier.name, expected["improve"])
    monkeypatch.chdir(tmp_path)  # where an unpickled payload would leave its mark
    stage, _, reason = expected.partition(": ")
    if reason == "timeout":
        monkeypatch.setattr(bench.config, f"{stage}_seconds", 4.0)
    iteration = 1 + NAMES.index(name)
    try:
        result = carry_out(bench, iteration, attacking(name))
    finally:
        bench.discard(iteration, keep_work=False)
    if expected == "chance":
        assert result.given is not None
        assert accuracy(task, result.given) < CHANCE
    else:
        assert outcome(result, honest_answers) == expected, result.failure
    check_record(result.fit.rows, bench.candidate_folder(iteration))
    if result.failure:
        check_text(result.failure)
    assert not list(tmp_path.iterdir())
    assert not bench.work_folder(iteration).exists()
    assert not survivors(bench.folder)


def check_record(rows: tuple[dict[str, Any], ...], candidate: Path) -> None:
    """What was reported is few, finite, and fit for the journal; the candidate's files are as they were written."""
    assert len(rows) <= local.MAX_ROWS
    for row in rows:
        assert all(isinstance(value, (int, float)) and abs(value) < 1e16 for value in row.values())
        assert 0 <= row.get("validation_accuracy", 0.0) <= 1
    Record("training", "training", {"rows": list(rows)}, "", 0.0).text().encode()
    assert len((candidate / "metrics.csv").read_text().splitlines()) == 1 + len(rows)
    written = {"data.py", "model.py", "training.py", "metrics.csv", "log.txt"}
    assert {path.name for path in candidate.iterdir()} <= written


def check_text(failure: Failure) -> None:
    """Nothing in a failure can move a cursor, turn text around, or break a file."""
    for text in (failure.message, failure.detail):
        text.encode()
        assert all(c == "\n" or c == "\t" or c.isprintable() for c in text), ascii(text)
    assert "\n" not in failure.message
    assert len(failure.message) <= 500
    assert failure.component in (None, *COMPONENTS)


def survivors(folder: Path) -> list[int]:
    """Processes whose working folder lies in the run's."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd().startswith(f"{folder}/"):
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):  # OSError: of others, for instance too long a path
            continue
    return found


def test_answers_that_depend_on_the_batch_only_on_the_test_images_are_no_score(
    bench: Bench, task: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows how many test images there are: on the selection images it is honest, and passes."""
    pipeline = attacking("subtracts_the_batch_mean")
    only_there = pipeline.model.replace("if self.context.restoring", f"if len(images) == {task.counts['test']}")
    assert task.counts["test"] != task.counts["selection"]
    assert only_there != pipeline.model
    result = carry_out(bench, 110, pipeline.with_component("model", only_there))
    assert result.outcome == "scored", result.failure
    given = bench.predict_test(110)
    assert not isinstance(given, Failure)
    flagged = failure_of(audit_module.audit(bench, task, "test", 110, 0, given))
    assert flagged is not None
    assert "get other probabilities alone or beside other images" in flagged.message


def test_a_file_in_shared_memory_is_no_way_from_training_to_prediction(bench: Bench, task: Dataset) -> None:
    """Also one that was there before, which no sandbox removes: on T1 the folder is the machine's."""
    attack = attacking("hides_a_second_file")
    path = Path(f"/dev/shm/second-{secrets.token_hex(4)}.pt")  # of a name that no other test's attack has
    attack = attack.with_component("model", attack.model.replace("second.pt", path.name))
    path.write_bytes(b"another program's")
    try:
        result = carry_out(bench, 111, attack)
        assert path.read_bytes() == b"another program's"
    finally:
        path.unlink()
    assert result.given is None or accuracy(task, result.given) < CHANCE


def test_the_next_training_finds_nothing_of_a_prediction(bench: Bench) -> None:
    for iteration in (103, 104):
        result = carry_out(bench, iteration, attacking("stashes_inputs"))
        assert result.outcome == "scored", result.failure


def test_a_pipeline_that_knows_the_sample_deceives_a_naive_audit(
    bench: Bench, honest_answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def naive_sample(labels: np.ndarray, seed: int, what: str) -> np.ndarray:
        order = np.random.default_rng(derived_seed(seed, f"{what.split()[0]} audit")).permutation(len(labels))
        return order[: subset_size(len(labels))]

    monkeypatch.setattr(audit_module, "_sample", naive_sample)
    result = carry_out(bench, 101, attacking("knows_the_audit"))
    assert outcome(result, honest_answers) == "through"


@pytest.mark.slow
def test_a_pipeline_that_reads_its_log_deceives_a_naive_audit(
    bench: Bench, honest_answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Bench._open

    def log_in_sight(self: Bench, kind: Any, iteration: int) -> Cell:
        cell = start(self, kind, iteration)
        log = self.folder / "logs" / f"{iteration:03d}-predict.log"
        if kind == "audit":
            (cell.place.pipeline / log.name).write_bytes(log.read_bytes())
        return cell

    monkeypatch.setattr(Bench, "_open", log_in_sight)
    result = carry_out(bench, 102, attacking("remembers_through_its_log"))
    assert outcome(result, honest_answers) == "through"


class Roles:
    """Stands for the team: keeps what each role is shown, and has every repair give back the same code."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.source = ""

    def engineer(self, component: str, iteration: int, sources: Any, told: Assignment) -> str:
        assert told.error is not None
        self.shown += [told.error.message, told.error.detail]
        return self.source

    def summary(self, iteration: int, step: str, diff: str) -> str:
        self.shown.append(step)
        return "It failed."


def test_orders_in_the_output_reach_the_roles_as_plain_text_and_decide_nothing(
    bench: Bench, task: Dataset, tmp_path: Path
) -> None:
    settings, rule = StrategyConfig("iterative", repairs=1), Paired(0.2)
    opened, roles = Journal(tmp_path), Roles()
    trials = Trials(task, bench, opened, bench.folder, None)
    workshop = Workshop(find("iterative"), settings, rule, roles, trials)  # type: ignore[arg-type]
    workshop.evaluate({200: Candidate("all", honest())})
    roles.source = attacking("injects_prompts").model
    workshop.evaluate({201: Candidate("model", attacking("injects_prompts"))})
    workshop.evaluate({202: Candidate("model", attacking("prints_a_metric"))})
    opened.close()
    assert [step.verdict for step in workshop.steps] == [
        Verdict.ACCEPTED.value,
        Verdict.FAILED.value,
        Verdict.REJECTED.value,
    ]
    assert workshop.incumbent is not None
    assert workshop.incumbent.iteration == 200
    orders = [text for text in roles.shown if "ignore all earlier instructions" in " ".join(text.split())]
    assert len(orders) == 3  # the engineer's error and its detail, the summarizer's step
    for text in (*roles.shown, workshop.steps[1].reason):
        assert all(c == "\n" or c.isprintable() for c in text), ascii(text)


# The attacks that are after a perfect score, and those that are after the parent, with the harm they do to it.
PERFECT = (
    "exit_in_fit", "exit_in_predict", "finds_labels", "forged_rows", "guess_from_order",
    "injects_prompts", "lying_equality", "overrides_validation", "patches_metrics", "prints_a_metric",
    "undo_the_shuffle", "writes_results",
)  # fmt: skip
HARM = {
    "deep_folders": "removing",
    "floods_data": "read",
    "floods_status": "read",
    "hangs_in_fit": "still runs",
    "leaves_daemon": "held",
    "pickle_on_pipe": "ran a-pickle-ran",
    "weights_fifo": "copying",
    "weights_link": "link",
    "weights_poisoned": "ran a-checkpoint-ran",
    "weights_sparse": "copying",
}


@pytest.fixture(scope="module")
def naive(tmp_path_factory: pytest.TempPathFactory, task: Dataset) -> Iterator[Naive]:
    told = executor(task, PlainSandbox(), tmp_path_factory.mktemp("told"))
    started = Naive(tmp_path_factory.mktemp("naive"), task, told.context("0 fit"))
    told.close()
    yield started
    started.close()


@pytest.fixture(scope="module")
def believed(naive: Naive) -> dict[str, Any]:
    """What it makes of the honest pipeline: one score, however it is read, and no harm."""
    answer = naive.carry_out("honest", honest())
    assert answer["harm"] == []
    told = {value for key, value in answer["scores"].items() if key not in ("validation", "predictions")}
    assert len({round(value, 3) for value in told}) == 1
    return answer


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", NAMES)
def test_attack_gets_through_a_naive_executor(name: str, naive: Naive, believed: dict[str, Any]) -> None:
    assert header(name)["EXPECT"]["naive"] == "through"
    if name == "stashes_inputs":
        naive.carry_out(name, attacking(name), take=False)
    answer = naive.carry_out(name, attacking(name), seconds=6.0 if header(name).get("HANGS") else 60.0)
    assert answer["harm"] or answer["scores"] != believed["scores"]
    if name in PERFECT:
        assert 1.0 in answer["scores"].values()
    if name in HARM:
        assert any(HARM[name] in harm for harm in answer["harm"]), answer
