"""Pretrained networks: layers that stay frozen and are computed once, fitted classifiers, changes on the way."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.support import template as support
from tests.support.template import components, context

NAME = "test_resnet"
SIDE = 64
STEPS = "\ndef trainer_kwargs(context):\n    return {}\n"
SLOWLY = (
    STEPS
    + """
def configure_optimizers(model, context):
    return torch.optim.SGD(model.parameters(), lr=RATE)
"""
)
STILL = SLOWLY.replace("RATE", "0.0")
BACKBONE = f"""
from template import pretrained_backbone
class Model(ImageClassifier):
    frozen = 1.0
    seen = 0
    def __init__(self, context):
        super().__init__(context)
        self.backbone = pretrained_backbone(context, "{NAME}")
        self.classifier = nn.Linear(self.backbone.num_features, context.num_classes)
        self.backbone.units[0].register_forward_hook(self.count)
    def count(self, module, inputs, output):
        type(self).seen += len(inputs[0])
    def forward(self, images):
        return self.classifier(self.backbone(images))
"""
ANEW = """
class DataModule(DataModule):
    def batch_transform(self, images, targets):
        return images, targets
"""


@pytest.fixture(scope="module")
def lib() -> SimpleNamespace:
    return support.template()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Colour images whose bright quarter is the class."""
    folder, chance = tmp_path_factory.mktemp("train"), np.random.default_rng(0)
    labels = np.arange(80) % 4
    pixels = chance.normal(90, 30, (80, SIDE, SIDE, 3))
    half = SIDE // 2
    for row, label in enumerate(labels):
        top, left = half * (label // 2), half * (label % 2)
        pixels[row, top : top + half, left : left + half] += 60
    np.save(folder / "images.npy", pixels.clip(0, 255).astype(np.uint8))
    np.save(folder / "labels.npy", labels.astype(np.int64))
    return folder


@pytest.fixture(scope="module")
def weights(lib: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Random ones, as if they had been learnt, of some tiny networks of timm."""
    import timm

    found = {}
    for name in (NAME, "test_efficientnet", "test_convnext", "test_vit", "mobilenetv3_small_050", "regnetx_002"):
        lib.torch.manual_seed(0)
        file = tmp_path_factory.mktemp("weights") / f"{name}.pth"
        lib.torch.save(timm.create_model(name, pretrained=False).state_dict(), file)
        found[name] = {"file": str(file), "mean": [0.5] * 3, "std": [0.5] * 3}
    return found


@pytest.fixture
def task(weights: dict[str, Any]) -> Any:
    three = {"channels": 3, "mean": [0.4] * 3, "std": [0.25] * 3}
    return context(**three, height=SIDE, width=SIDE, pretrained=weights, seed=1)


def fit(lib: SimpleNamespace, parts: Any, task: Any, folder: Path, out: Path, **changes: Any) -> dict[str, Any]:
    """The weights that a training leaves."""
    out.mkdir(exist_ok=True)
    events: list[dict[str, Any]] = []
    lib.train.fit(parts, task.replace(**changes), folder, out, events.append)
    assert not list(out.glob("features*")), "the features are removed"
    model = parts.build_model(task.replace(restoring=True))
    lib.keeping.load_weights(model, out)
    return dict(model.state_dict())


@pytest.mark.parametrize("name", [NAME, "test_efficientnet", "test_convnext", "mobilenetv3_small_050", "regnetx_002"])
def test_a_network_is_a_chain_that_may_be_entered_anywhere(lib: SimpleNamespace, task: Any, name: str) -> None:
    backbone = lib.template.pretrained_backbone(task, name).eval()
    images = lib.torch.randn(2, 3, SIDE, SIDE)
    assert len(backbone.units) > 4
    with lib.torch.no_grad():
        wanted = backbone(images)
        assert wanted.shape == (2, backbone.num_features)
        for entry in range(1, len(backbone.units) + 1):
            backbone.entry = 0
            inside = backbone.until(images, entry)
            backbone.entry = entry
            assert lib.torch.allclose(backbone(inside), wanted, atol=1e-4), entry


@pytest.mark.parametrize("name", [NAME, "test_efficientnet", "test_convnext", "mobilenetv3_small_050", "regnetx_002"])
def test_earlier_stages_are_features_beside_the_last_ones(lib: SimpleNamespace, task: Any, name: str) -> None:
    plain = lib.template.pretrained_backbone(task, name).eval()
    backbone = lib.template.pretrained_backbone(task, name, levels=2).eval()
    images = lib.torch.randn(2, 3, SIDE, SIDE)
    with lib.torch.no_grad():
        wanted, own = backbone(images), plain(images)
        assert wanted.shape == (2, backbone.num_features)
        assert lib.torch.allclose(wanted[:, : plain.num_features], own, atol=1e-4)
        maps = [plain.until(images, entry) for entry in range(1, len(plain.units))]
        means = [inside.mean((2, 3)) for inside in maps if inside.ndim == 4]
        for part in wanted[:, plain.num_features :].split(sorted(backbone._ends.values()), dim=1):
            assert any(m.shape == part.shape and lib.torch.allclose(m, part, atol=1e-4) for m in means)
        entries = [entry for entry in range(1, len(backbone.units) + 1) if backbone.can_be_entered(entry)]
        assert entries[-1] == len(backbone.units)
        assert entries[:-1] == list(range(1, min(backbone._ends) + 1))
        for entry in entries:
            backbone.entry = 0
            inside = backbone.until(images, entry)
            backbone.entry = entry
            assert lib.torch.allclose(backbone(inside), wanted, atol=1e-4), entry


def test_a_network_that_is_no_chain_is_one_unit(lib: SimpleNamespace, task: Any) -> None:
    backbone = lib.template.pretrained_backbone(task, "test_vit", levels=3)
    assert len(backbone.units) == 1
    assert backbone.num_features == lib.template.pretrained_backbone(task, "test_vit").num_features


def test_frozen_layers_stay_as_they_came_and_see_each_image_once(
    lib: SimpleNamespace, task: Any, folder: Path, tmp_path: Path
) -> None:
    parts = components(model=BACKBONE, training=STEPS)
    came = parts.build_model(task).state_dict()
    left = fit(lib, parts, task, folder, tmp_path, steps=40)
    assert all(lib.torch.equal(left[n], came[n]) for n in came if n.startswith("backbone."))  # statistics, too
    assert not lib.torch.equal(left["classifier.weight"], came["classifier.weight"])
    once = 80 + 4 * 80  # the images, and a few to time and check it by
    assert parts.model.Model.seen <= once < 40 * 32


def test_features_that_are_kept_train_as_those_that_are_computed_anew(
    lib: SimpleNamespace, task: Any, folder: Path, tmp_path: Path
) -> None:
    for share, levels in ((1.0, 0), (0.6, 0), (1.0, 3)):
        model = BACKBONE.replace("frozen = 1.0", f"frozen = {share}").replace(f'"{NAME}"', f'"{NAME}", levels={levels}')
        slowly = SLOWLY.replace("RATE", "0.01")
        kept = fit(lib, components(model=model, training=slowly), task, folder, tmp_path / "kept", steps=6)
        anew_parts = components(data=ANEW, model=model, training=slowly)
        anew = fit(lib, anew_parts, task, folder, tmp_path / "anew", steps=6)
        assert anew_parts.model.Model.seen > 5 * 32
        assert all(lib.torch.allclose(kept[n], anew[n].to(kept[n].dtype), atol=5e-3) for n in kept), share


def test_the_first_layers_alone_may_be_frozen(lib: SimpleNamespace, task: Any, folder: Path, tmp_path: Path) -> None:
    parts = components(model=BACKBONE.replace("frozen = 1.0", "frozen = 0.5"), training=STEPS)
    model = parts.build_model(task)
    came, units = model.state_dict(), model.backbone.units
    left = fit(lib, parts, task, folder, tmp_path, steps=10)
    again = parts.build_model(task.replace(restoring=True))
    again.load_state_dict(left)
    still = round(0.5 * len(units))
    for place, (new, old) in enumerate(zip(again.backbone.units, units, strict=True)):
        same = all(lib.torch.equal(a, b) for a, b in zip(new.parameters(), old.parameters(), strict=True))
        assert same or place >= still
        assert not same or place < still or not list(new.parameters())
    assert set(came) == set(left)


def test_a_smoke_run_computes_features_of_few_images(lib: SimpleNamespace, task: Any, folder: Path) -> None:
    parts = components(
        model=BACKBONE.replace("frozen = 1.0", "frozen = 1.0; probe = True"), training="\nbatch_size = 4\n"
    )
    lib.smoke.smoke(parts, task, folder)
    assert parts.model.Model.seen < 80


def test_images_that_change_at_random_are_not_computed_once(
    lib: SimpleNamespace, task: Any, folder: Path, tmp_path: Path
) -> None:
    jitter = "from torchvision.transforms import v2\nclass DataModule(DataModule):\n    train_transform = lambda self: "
    changing = jitter + "v2.Compose([v2.RandomVerticalFlip(), self.normalize()])\n"
    parts = components(data=changing, model=BACKBONE, training=STEPS)
    fit(lib, parts, task, folder, tmp_path, steps=20)
    assert parts.model.Model.seen >= 20 * 32


def test_a_model_that_does_more_to_its_images_is_trained_as_it_is(
    lib: SimpleNamespace, task: Any, folder: Path, tmp_path: Path
) -> None:
    odd = BACKBONE.replace("self.backbone(images)", "self.backbone(images * 2)")
    parts = components(model=odd, training=STEPS)
    fit(lib, parts, task, folder, tmp_path, steps=20)
    assert parts.model.Model.seen >= 20 * 32


def test_too_little_disk_means_no_features(lib: SimpleNamespace, task: Any, folder: Path, tmp_path: Path) -> None:
    parts = components(model=BACKBONE, training=STEPS)
    fit(lib, parts, task, folder, tmp_path, steps=20, disk_bytes=1000)
    assert parts.model.Model.seen >= 20 * 32


def test_half_of_the_images_are_mirrored_also_as_features(
    lib: SimpleNamespace, task: Any, folder: Path, tmp_path: Path
) -> None:
    parts = components(data="\nDataModule.flip = True\n", model=BACKBONE, training=STEPS)
    data, model = parts.build_data(task), parts.build_model(task)
    data.attach(folder)
    lib.preparing.Preparation(task, tmp_path, lib.preparing.time.monotonic()).apply(model, data)
    assert data.features.mirrored is not None
    rows = data.train_rows[:32]
    plain, mirrored = data.features.of(rows), data.features.of(rows, np.full(32, True))
    with lib.torch.no_grad():
        model.eval()
        entry, model.backbone.entry = model.backbone.entry, 0
        wanted = model.backbone(data.pixels(rows).flip(3))
        model.backbone.entry = entry
    assert lib.torch.allclose(mirrored.flatten(1), wanted, atol=1e-2)
    seen = [(batch - plain[: len(batch)]).abs().sum() for batch, _ in data.train_dataloader()]
    assert len(seen) == 2
    taken = lib.template.FeatureRows(data.features, data.labels, rows, mirror=True).__getitems__(range(32))[0]
    share = np.mean([bool(lib.torch.equal(a, b)) for a, b in zip(taken, mirrored, strict=True)])
    assert 0.2 < share < 0.8


def test_a_probe_starts_the_classifier_at_the_best_linear_one(
    lib: SimpleNamespace, task: Any, folder: Path, tmp_path: Path
) -> None:
    images, labels = np.load(folder / "images.npy"), np.load(folder / "labels.npy")
    right = {}
    for probe in (False, True):
        model = BACKBONE.replace("frozen = 1.0", f"frozen = 1.0\n    probe = {probe}")
        parts = components(model=model, training=STILL)
        fit(lib, parts, task, folder, tmp_path, steps=1)
        rows = np.concatenate(list(lib.classifier.probabilities(parts, task, tmp_path, iter([images]))))
        right[probe] = (rows.argmax(axis=1) == labels).mean()
    assert right[True] > 0.9 > right[False]


@pytest.mark.parametrize(("frozen", "share"), [(1.0, 1.0), (0.0, 0.4)])
def test_where_the_backbone_learns_the_start_of_its_classifier_takes_a_small_part_of_the_time(
    lib: SimpleNamespace, task: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    frozen: float, share: float,
) -> None:  # fmt: skip
    """Half of the time is over, for instance because images are slow: more than that is for the training."""
    monkeypatch.setattr(lib.preparing, "BATCH", 8)
    monkeypatch.setattr(lib.preparing.Preparation, "_used", lambda self: 0.5 * self.context.fit_seconds)
    parts = components(model=BACKBONE.replace("frozen = 1.0", f"frozen = {frozen}; probe = True"))
    data, model = parts.build_data(task), parts.build_model(task)
    data.attach(folder)
    lib.preparing.Preparation(task, tmp_path, 0.0).apply(model, data)
    # The first few images are looked at twice more where features are kept, to see whether that pays.
    assert (parts.model.Model.seen >= share * 80) == (frozen == 1.0)


def test_a_probe_without_a_classifier_is_named(lib: SimpleNamespace, task: Any, folder: Path, tmp_path: Path) -> None:
    model = BACKBONE.replace("frozen = 1.0", "probe = True").replace("nn.Linear(self", "nn.Bilinear(3, self")
    model = model.replace("self.classifier(self.backbone(images))", "self.backbone(images)[:, :4]")
    with pytest.raises(lib.template.ContractError, match="probe = True fits a linear layer"):
        fit(lib, components(model=model, training=STEPS), task, folder, tmp_path, steps=1)


@pytest.mark.parametrize("share", ["1.5", "-1", "True", "'all'"])
def test_an_odd_share_of_frozen_layers_is_named(
    lib: SimpleNamespace, task: Any, folder: Path, tmp_path: Path, share: str
) -> None:
    parts = components(model=BACKBONE.replace("frozen = 1.0", f"frozen = {share}"), training=STEPS)
    with pytest.raises(lib.template.ContractError, match="frozen must be a share from 0 to 1"):
        fit(lib, parts, task, folder, tmp_path, steps=1)


def test_layers_thaw_on_the_way(lib: SimpleNamespace, task: Any, folder: Path, tmp_path: Path) -> None:
    thawing = BACKBONE.replace(
        "    frozen = 1.0\n", "    def frozen(self, progress):\n        return 1.0 if progress < 0.5 else 0.5\n"
    )
    watched = (
        thawing
        + """
    def on_train_batch_start(self, batch, batch_index):
        modes = [unit.training for unit in self.backbone.units]
        learns = [any(p.requires_grad for p in unit.parameters()) for unit in self.backbone.units]
        type(self).states = [*getattr(type(self), "states", []), (self.told.value, modes, learns)]
"""
    )
    parts = components(model=watched, training=STEPS)
    fit(lib, parts, task, folder, tmp_path, steps=10)
    states = parts.model.Model.states[-10:]
    assert [round(progress, 6) for progress, _, _ in states] == [i / 10 for i in range(10)]
    for progress, modes, learns in states:
        thawed = round(0.5 * len(modes))
        assert modes == ([False] * len(modes) if progress < 0.5 else [p >= thawed for p in range(len(modes))])
        assert not any(learns[:thawed])
        assert any(learns) is (progress >= 0.5)


def test_learning_rates_fall_towards_the_input(lib: SimpleNamespace, task: Any) -> None:
    model = components(model=BACKBONE).build_model(task)
    groups = lib.template.layer_groups(model, 0.1, decay=0.5, weight_decay=0.02)
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert len(rate) == len(list(model.parameters()))
    units = [unit for unit in model.backbone.units if list(unit.parameters())]
    rates = [rate[id(next(unit.parameters()))] for unit in units]
    assert rates == sorted(rates)
    assert rates[-1] <= 0.05 < rate[id(model.classifier.weight)] == 0.1
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert (decays[id(model.classifier.weight)], decays[id(model.classifier.bias)]) == (0.02, 0.0)


# ---------------------------------------------------------------------- what any model may ask for


PROGRESS = """
class DataModule(DataModule):
    seen = []
    def batch_transform(self, images, targets):
        DataModule.seen.append(self.progress)
        return images, targets
"""


def test_the_progress_goes_from_0_to_1_and_is_tried_out_along_its_way(
    lib: SimpleNamespace, folder: Path, tmp_path: Path
) -> None:
    grey = support.train_folder(tmp_path)
    parts = components(data=PROGRESS, training=STEPS)
    lib.train.fit(parts, context(steps=8), grey, tmp_path, lambda event: None)
    assert parts.data.DataModule.seen == [i / 8 for i in range(8)]
    parts.data.DataModule.seen.clear()
    lib.train.fit(parts, context(fit_seconds=2.0), grey, tmp_path, lambda event: None)
    tried = parts.data.DataModule.seen[1:6]
    assert tried == [(i % 4 + 0.5) / 4 for i in range(1, 6)]


def test_rates_by_progress(lib: SimpleNamespace) -> None:
    optimizer = lib.torch.optim.SGD([lib.torch.zeros(1, requires_grad=True)], lr=2.0)
    made = lib.template.by_progress(optimizer, lambda progress: 1 - progress, context(planned_steps=4))
    rates = []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        made["lr_scheduler"]["scheduler"].step()
    assert rates == [2.0, 1.5, 1.0, 0.5, 0.0]


def test_the_horizon_of_an_average_is_a_share_of_the_training(lib: SimpleNamespace) -> None:
    parts = components(training="\nema_horizon = 0.1\n")
    assert [parts.averaged(steps) for steps in (1000, 20, 5)] == [0.99, 0.5, 0.0]
    assert components().averaged(1000) is None
    assert components(training="\nema_decay = 0.9\n").averaged(5) == 0.9
    for odd in ("0.0", "2.0", "5"):
        with pytest.raises(lib.template.ContractError, match="ema_horizon"):
            components(training=f"\nema_horizon = {odd}\n").averaged(10)


def test_views_are_averaged_for_new_images_alone(lib: SimpleNamespace) -> None:
    model = components(model="\nModel.views = 'mirrored'\n").build_model(context()).eval()
    images = lib.torch.randn(3, 1, 8, 8)
    assert lib.torch.allclose(model.answer(images), (model(images) + model(images.flip(3))) / 2)
    model.views = "shifted"
    views = [images.roll((y, x), (2, 3)) for y in (0, 1) for x in (0, 1)]
    assert lib.torch.allclose(model.answer(images), sum(map(model, views)) / 4)
    model.views = "upside down"
    with pytest.raises(lib.template.ContractError, match="views must be one of"):
        model.answer(images)


def test_a_model_may_start_from_the_images(lib: SimpleNamespace, tmp_path: Path) -> None:
    started = """
class Model(Model):
    def initialize(self, images):
        self.first[1].bias.copy_(images.mean() + torch.zeros(16))
"""
    parts = components(model=started, training=STILL)
    folder = support.train_folder(tmp_path)
    lib.train.fit(parts, context(fit_seconds=1.0), folder, tmp_path, lambda event: None)
    model = parts.build_model(context())
    lib.keeping.load_weights(model, tmp_path)
    data = parts.build_data(context())
    data.attach(folder)
    assert lib.torch.allclose(model.first[1].bias, data.pixels(data.train_rows).mean().expand(16), atol=1e-4)


def test_a_lazy_layer_bears_another_layout_of_the_memory(lib: SimpleNamespace) -> None:
    lazy = """
class Model(ImageClassifier):
    def __init__(self, context):
        super().__init__(context)
        self.network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(4))
        self.to(memory_format=torch.channels_last)
    def forward(self, images):
        return self.network(images)
"""
    model = components(model=lazy).build_model(context())
    assert model.network[3].weight.shape == (4, 144)
    assert model.network[0].weight.is_contiguous(memory_format=lib.torch.channels_last)
