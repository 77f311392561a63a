"""The executor with pipelines that mean well: cells, seeds, checks, time; and the reader of what sandboxes report."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from improve.datasets import Dataset
from improve.domain import COMPONENTS, Failure, Reason
from improve.errors import Interrupted
from improve.execution import cell, local, machine
from improve.execution.length import Length
from improve.execution.local import WHOLE, LocalExecutor
from improve.execution.replicates import REFIT, derived_seed
from improve.execution.status import MAX_LINE, MAX_LINES, MAX_TOTAL, StatusReader, clean, count, epoch_row, failure_of
from improve.judging.audit import subset_size
from improve.pipeline.export import WEIGHTS
from improve.record.journal import Record
from improve.sandbox import Sandbox, choose, remove
from improve.sandbox.guarded import LandlockSandbox
from tests.support.bench import Bench, executor, honest, make_task

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return choose("auto")


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Dataset:
    return make_task(tmp_path_factory.mktemp("task"), cache)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox, task: Dataset) -> Iterator[Bench]:
    plain = executor(task, sandbox, tmp_path_factory.mktemp("run"))
    made = Bench(**{f.name: getattr(plain, f.name) for f in dataclasses.fields(plain) if f.init})
    yield made
    made.close()
    remove(made.folder)  # pytest cannot follow what is nested deep


@pytest.fixture
def _one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 1)


# ---------------------------------------------------------------------- trainings and predictions


def predicted(bench: Bench, iteration: int) -> np.ndarray:
    assert bench.fit(iteration, honest()).failure is None
    given_rows = bench.predict(iteration, "predict", bench.dataset.counts["selection"])
    assert isinstance(given_rows, np.ndarray), given_rows
    return given_rows


@pytest.mark.slow
@pytest.mark.usefixtures("_one_core")
def test_the_same_seed_gives_the_same_predictions_and_another_one_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = predicted(bench, 1)
    assert np.array_equal(predicted(bench, 2), first)
    monkeypatch.setattr(bench, "seed", 1)
    assert not np.array_equal(predicted(bench, 3), first)


@pytest.mark.usefixtures("_one_core")
def test_a_refit_learns_from_all_images_but_the_test_images(task: Dataset, sandbox: Sandbox, tmp_path: Path) -> None:
    made = executor(task, sandbox, tmp_path)
    made.folder.chmod(0o755)
    with closing(made):
        plain, fit = made.fit(1, honest()), made.refit(1, honest())
        assert plain.failure is None, plain.failure
        assert fit.failure is None, fit.failure
        assert plain.length.steps_per_epoch * plain.length.batch_size <= task.counts["train"]
        assert fit.length.steps_per_epoch * fit.length.batch_size > 0.9 * (
            task.counts["train"] + task.counts["selection"]
        )
        assert (made.work_folder(1, REFIT) / WEIGHTS).exists()
        assert isinstance(made.predict_test(1, REFIT), np.ndarray)
    assert not (made.folder / WHOLE).exists()
    assert weights_of(made, 1) != weights_of(made, 1, REFIT)


def weights_of(made: LocalExecutor, *which: int) -> bytes:
    return (made.work_folder(*which) / WEIGHTS).read_bytes()


@pytest.mark.slow
@pytest.mark.usefixtures("_one_core")
def test_the_weaker_tier_gives_the_same_predictions(bench: Bench, task: Dataset, tmp_path: Path) -> None:
    made = executor(task, LandlockSandbox(), tmp_path)
    assert made.fit(0, honest()).failure is None
    weaker = made.predict(0, "predict", task.counts["selection"])
    assert np.array_equal(weaker, predicted(bench, 4))  # type: ignore[arg-type]
    assert not in_folder(tmp_path)


def test_a_training_says_its_length_and_no_cell_is_started_before_it_was_planned(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    told = Length.told

    def planned(event: Mapping[str, Any]) -> Length:
        order.append("plan")
        return told(event)

    monkeypatch.setattr(Length, "told", planned)
    monkeypatch.setattr(bench, "expect", lambda key: order.append(key[0]))
    fit = bench.fit(5, honest(), [("fit", 6)])
    assert fit.failure is None
    assert order == ["plan", "predict", "fit", "audit"]
    length = fit.length
    steps = -(-216 // 16)
    assert (length.steps, length.planned_steps, length.steps_per_epoch, length.batch_size) == (13, 13, steps - 1, 16)
    assert length.steps_that_fit > 13
    assert length.reference(True) is not None
    assert fit.rows[-1]["step"] == 13
    monkeypatch.setattr(bench.config, "steps", 5)
    by_steps = bench.fit(6, honest(), reference=length.reference(True))
    assert (by_steps.length.steps, by_steps.length.steps_that_fit, by_steps.length.step_seconds) == (5, 5, 0.0)
    assert by_steps.length.reference(True) is None  # a measured speed is needed


PLAN = st.sampled_from(["steps", "steps_that_fit", "steps_per_epoch", "batch_size", "step_seconds"])


@given(st.dictionaries(PLAN, JSON))
def test_whatever_a_plan_says_its_length_can_be_journalled(event: dict[str, Any]) -> None:
    length = Length.told(event)
    Record("key", "training", length.record(), "", 0.0).text().encode()
    assert Length.from_record(length.record()) == length
    reference = length.reference(False)
    assert reference is None or all(0 < value <= 10**9 for value in reference.values() if value is not False)


def test_the_length_of_an_older_record_is_in_epochs() -> None:
    old = Length.from_record({"epochs": 3, "planned_epochs": 4, "epochs_that_fit": 0})
    assert [old.epochs(n) for n in (old.steps, old.planned_steps, old.steps_that_fit)] == [3, 4, 0]
    assert old.reference(True) is None


@pytest.mark.usefixtures("_one_core")
@pytest.mark.parametrize(
    ("component", "added", "reason"),
    [
        ("model", "Model.forward = lambda self, images: images", Reason.CONTRACT),
        ("model", "Model.__init__ = lambda self, context: 1 / 0", Reason.CRASH),
        ("data", "import a_module_that_is_not_there", Reason.IMPORT),
        ("training", "configure_optimizers = lambda model, context: model.nope", Reason.CRASH),
        ("training", "raise SystemExit(0)", Reason.CRASH),
        ("model", "import timm; timm.create_model('test_resnet', pretrained=True)", Reason.CONTRACT),
        ("model", "import torchvision as v; v.models.squeezenet1_1(weights='DEFAULT')", Reason.CONTRACT),
    ],
)
def test_a_smoke_run_says_what_is_wrong_and_where(bench: Bench, component: Any, added: str, reason: Reason) -> None:
    broken = honest().with_component(component, f"{honest().source(component)}\n{added}\n")
    failure = bench.smoke(10, 0, broken)
    assert failure is not None
    assert (failure.reason, failure.component) == (reason, component), failure
    assert "\n" not in failure.message
    assert ("Pretrained weights at hand: none" in failure.message) == ("pretrained=" in added or "weights=" in added)
    assert bench.smoke(10, 1, honest()) is None  # the repair finds the same sandbox as good as new


def test_seeds_differ_by_run_iteration_phase_and_attempt_and_need_no_memory() -> None:
    phases = [f"{i} {p}" for i in range(20) for p in ("fit", "predict", "audit", "smoke 0", "smoke 1")]
    seeds = {derived_seed(run, phase) for run in range(20) for phase in phases}
    assert len(seeds) == 20 * len(phases)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert derived_seed(3, "4 fit") == 467648548  # a run that is resumed by a later version goes on as it began


def test_the_context_tells_the_phase_by_its_seed_alone(task: Dataset, sandbox: Sandbox, tmp_path: Path) -> None:
    made = executor(task, sandbox, tmp_path)
    fit, predict = made.context("3 fit"), made.context("3 predict")
    assert fit["seed"] != predict["seed"]
    assert {**fit, "seed": 0} == {**predict, "seed": 0}
    told = json.dumps(fit)
    assert str(task.folder) not in told  # no path of the images
    assert fit["images_per_class"] == [60] * 4


@given(st.integers(1, 100_000))
def test_an_audit_asks_for_enough_and_not_for_everything(total: int) -> None:
    size = subset_size(total)
    assert size == min(total, 32) or total // 4 == size or size == 512
    assert 1 <= size <= total


def in_folder(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):  # OSError: of others, for instance too long a path
            continue
    return found


@pytest.mark.usefixtures("_one_core")
def test_a_cell_may_wait_for_long_and_ends_when_its_training_is_interrupted(
    task: Dataset, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was started early, its first command comes much later; then somebody presses Ctrl-C during the training."""

    def phase(iteration: int, stage: str, detail: str) -> None:
        if detail.startswith("epoch"):
            raise Interrupted(2)

    made = dataclasses.replace(executor(task, sandbox, tmp_path), phase=phase)
    made.zygote = cell.new_zygote()
    made._cells.expect(("smoke", 0))
    monkeypatch.setattr(cell, "START_SECONDS", 1.0)
    time.sleep(1.1)
    assert made.smoke(0, 0, honest()) is None
    assert not in_folder(tmp_path)
    with pytest.raises(Interrupted):
        made.fit(0, honest())
    assert not in_folder(tmp_path)
    made.close()


def test_weights_that_are_missing_are_a_failure_of_the_training(
    task: Dataset, sandbox: Sandbox, tmp_path: Path
) -> None:
    made: LocalExecutor = executor(task, sandbox, tmp_path)
    made.write(0, honest())
    with made._cell("fit", 0) as cell:
        failure = made._keep_weights(cell, made.work_folder(0))
    assert failure is not None
    assert failure.reason is Reason.CRASH
    assert "without leaving weights" in failure.message
    made.close()


# ---------------------------------------------------------------------- what sandboxes report

KEYS = st.sampled_from(
    ["event", "epoch", "of", "train_loss", "validation_accuracy", "reason", "component", "message", "detail"]
)
EVENTS = st.dictionaries(KEYS, JSON | st.sampled_from(["epoch", "error", "end", "nan", "data"]), max_size=6)


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine may take seconds to draw
@given(events=st.lists(EVENTS, max_size=6), cuts=st.lists(st.integers(0, 2000), max_size=6))
def test_events_arrive_whole_however_the_stream_is_cut(events: list[dict[str, Any]], cuts: list[int]) -> None:
    stream = b"".join(json.dumps(event).encode() + b"\n" for event in events)
    reader, got, last = StatusReader(), [], 0
    for cut in [*sorted(cuts), len(stream)]:
        got += reader.feed(stream[last:cut])
        last = max(last, min(cut, len(stream)))
    assert [json.dumps(event) for event in got] == [json.dumps(event) for event in events]


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_any_bytes_are_read_without_an_error(blocks: list[bytes]) -> None:
    reader = StatusReader()
    for block in (*blocks, b"\n[1]\n{}\n"):
        found = reader.feed(block)
    assert found[-1] == {}


@given(EVENTS)
def test_whatever_an_event_says_it_can_be_journalled_and_printed(event: dict[str, Any]) -> None:
    row, failure = epoch_row(event), failure_of(event)
    planned = count(event.get("of"))
    assert planned is None or 0 <= planned <= 10**9
    assert all(abs(value) <= 1e15 for value in row.values())
    assert 0 <= row.get("validation_accuracy", 0) <= 1
    assert failure.component in (None, *COMPONENTS)
    assert (failure.message + failure.detail.replace("\n", "").replace("\t", "")).replace("\t", "").isprintable()
    data = {**dataclasses.asdict(failure), "reason": failure.reason.value, "rows": [row], "of": planned}
    Record("key", "training", data, "", 0.0).text().encode()


@pytest.mark.parametrize("number", [10**400, -(10**400), float("inf"), float("nan"), True, "1", [1], None])
def test_absurd_numbers_are_no_numbers(number: Any) -> None:
    assert epoch_row({"epoch": number, "train_loss": number, "validation_accuracy": number, "seconds": 1.5}) == {
        "seconds": 1.5
    }
    assert count(number) is None


def test_control_characters_become_spaces_and_words_stay() -> None:
    text = "\x1b[2Ja\rb\x9b1m\u202ec\u2028d\ud800é\tü\n中"
    assert clean(text, 100) == " [2Ja b 1m c d é\tü\n中"
    assert clean("x" * 100, 7) == "x" * 7


def test_an_unknown_reason_is_a_crash_and_a_failure_always_says_something() -> None:
    assert failure_of({}) == Failure(Reason.CRASH, "the code failed without a message")
    assert failure_of({"reason": "accepted", "component": "loss", "message": "a\nb"}) == Failure(Reason.CRASH, "a b")
    assert failure_of({"reason": "nan", "component": "model"}).component == "model"


def test_too_much_is_noticed_by_bytes_and_by_lines() -> None:
    long, many = StatusReader(), StatusReader()
    long.feed(b"x" * MAX_TOTAL)
    many.feed(b"\n" * MAX_LINES)
    assert not long.flooded
    assert not many.flooded
    assert long.feed(b"x") == many.feed(b"{}\n") == []
    assert long.flooded
    assert many.flooded


def test_a_line_that_is_too_long_is_dropped_and_the_next_one_read() -> None:
    reader = StatusReader()
    assert reader.feed(b'{"a": "' + b"x" * MAX_LINE + b'"}\n{"b": 1}\n') == [{"b": 1}]
    assert reader.feed(b"x" * (MAX_LINE + 1)) == []
    assert reader.pending == b""
    assert reader.feed(b'\n{"c": 1}\n') == [{"c": 1}]
    assert local.MAX_ROWS < MAX_LINES  # so that a long training is never taken for a flood
