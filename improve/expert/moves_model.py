"""Ideas for the Model Engineer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from improve.expert import cost, designs
from improve.expert.first import best_pretrained
from improve.expert.idea import Idea
from improve.expert.recipe import ModelRecipe, Settings, changed
from improve.expert.situation import Situation, natural_photos

LEVELS = 4  # stages; what they gain: benchmarks/levels.py
ENOUGH_EPOCHS = 8  # for a deeper network to overtake a plain one, measured on 8,000 images of dSprites


def model_ideas(now: Situation) -> Iterator[Idea]:
    if now.recipes.model.family == "pretrained":
        yield from _fine_tuning(now)
    else:
        yield from _residual(now)
        yield from _pretrained(now)
        yield from _known_networks(now)
    yield from _regularisation(now)
    yield from _views(now)


def _affordable(now: Situation) -> float:
    """Seconds that a step may take for one image with the present epochs, in the units of `cost.image_seconds`."""
    recipes = now.recipes
    present = cost.image_seconds(recipes.model, cost.side_of(recipes.data, now.task), now.task.channels)
    return present * max(1.0, now.full / now.used)


def _settings(recipe: ModelRecipe) -> Settings:
    return {"family": recipe.family, "stem": recipe.stem, "widths": recipe.widths, "blocks": recipe.blocks}


def _words(recipe: ModelRecipe) -> str:
    blocks = "-".join(str(recipe.depth(stage)) for stage in range(len(recipe.widths)))
    stem = f"a first convolution of stride {recipe.stem}" if recipe.stem > 1 else "a first convolution of stride 1"
    return (
        f"{stem}, then stages of {'-'.join(map(str, recipe.widths))} channels with {blocks} residual blocks, each "
        "stage after the first at half the resolution, average pooling and one linear layer"
    )


def _residual_instead(now: Situation) -> ModelRecipe:
    """The residual network that may replace a plain one."""
    present, channels = now.recipes.model, now.task.channels
    side = cost.side_of(now.recipes.data, now.task)
    own = cost.image_seconds(present, side, channels)
    return designs.residual(side, channels, min(_affordable(now), 2 * own), present)


def residual_pays(now: Situation) -> bool:
    """Residual blocks cost twice as much as plain ones, which few epochs do not make good."""
    instead = dataclasses.replace(now.recipes, model=_residual_instead(now))
    return now.epochs_for(now.full, instead) >= ENOUGH_EPOCHS


def _residual(now: Situation) -> Iterator[Idea]:
    present, channels = now.recipes.model, now.task.channels
    side = cost.side_of(now.recipes.data, now.task)
    own = cost.image_seconds(present, side, channels)
    most = _affordable(now)
    if present.family != "residual":
        recipe = _residual_instead(now)
        yield Idea(
            "residual-network", "model", _settings(recipe), 0.28 if residual_pays(now) else 0.09,
            "The plain network has few layers; residual connections let a deeper one learn in the same time.",
            f"Build a small residual network: {_words(recipe)}.",
        )  # fmt: skip
        return
    for factor, name, value, because in (
        (2.0, "larger-network", 0.16 if now.underfits else 0.1, "The network may be too small for the task."),
        (1.4, "somewhat-larger-network", 0.09 if now.underfits else 0.06, "The network may be a little small."),
        (0.6, "faster-network", 0.05 if _starved(now) else 0.02, "A faster network can see every image more often."),
    ):
        if factor > 1 and most < 1.1 * own:
            continue
        recipe = designs.residual(side, channels, min(most, factor * own), present)
        if _settings(recipe) != _settings(present):
            yield Idea(
                name, "model", _settings(recipe), value, because, f"Change the residual network to: {_words(recipe)}."
            )
    yield from _shapes(now, side, most)


def _starved(now: Situation) -> bool:
    return now.recipes.training.epochs <= 6 and now.underfits


def _shapes(now: Situation, side: int, most: float) -> Iterator[Idea]:
    """The same cost spent differently: deeper, wider, finer or coarser."""
    present = now.recipes.model
    wide = tuple(round(width * 1.25 / 4) * 4 for width in present.widths)
    narrow = tuple(max(4, round(width * 0.8 / 4) * 4) for width in present.widths)
    depths = [present.depth(stage) for stage in range(len(present.widths))]
    middle = len(depths) // 2
    deeper = tuple(depth + (stage == middle) for stage, depth in enumerate(depths))
    last_deeper = tuple(depth + (stage == len(depths) - 1) for stage, depth in enumerate(depths))
    variants: list[tuple[str, Settings, float, str]] = [
        ("deeper-network", {"blocks": deeper}, 0.1, "One more block where resolution and width are balanced"),
        ("deeper-and-narrower", {"blocks": deeper, "widths": narrow}, 0.07, "Depth may be worth more than width"),
        ("wider-network", {"widths": wide}, 0.08, "More channels hold more features"),
        ("deeper-end", {"blocks": last_deeper}, 0.06, "Late layers are cheap and combine what early ones find"),
        ("narrower-network", {"widths": narrow}, 0.015, "A narrower network is faster and forgets noise"),
    ]
    if len(present.widths) > 2:
        coarse = {"widths": present.widths[:-1], "blocks": tuple(depths[:-1])}
        variants.append(("fewer-stages", coarse, 0.04, "A finer last stage keeps where things are"))
    if side / present.stem / 2 ** (len(depths) - 1) >= 6 and len(depths) < 5:
        longer = {"widths": (*present.widths, min(512, present.widths[-1] * 2)), "blocks": (*depths, 1)}
        variants.append(("more-stages", longer, 0.05, "A further stage sees the whole image at once"))
    for name, settings, value, because in variants:
        recipe = changed(present, settings)
        if cost.image_seconds(recipe, side, now.task.channels) <= most * 1.02:
            yield Idea(
                name, "model", settings, value, f"{because}.", f"Change the residual network to: {_words(recipe)}."
            )


def _pretrained(now: Situation) -> Iterator[Idea]:
    if not now.task.pretrained:
        return
    name = best_pretrained(now.task.pretrained)
    share = _frozen_that_fits(now, name)
    if share is None:
        return
    yield Idea(
        "pretrained-network", "model", {"family": "pretrained", "name": name, "frozen": share},
        0.5 if natural_photos(now.task) else 0.05 if now.task.channels >= 3 else 0.01,
        "Pretrained weights are at hand: features learnt from a million photos beat what few images can teach."
        if natural_photos(now.task) else "Pretrained features sometimes help on other images than photos.",
        f"Use {name} with its pretrained weights and a new linear classifier; keep the first {share:.0%} of its layers "
        "frozen, which saves their backward pass.",
    )  # fmt: skip


def _frozen_that_fits(now: Situation, name: str) -> float | None:
    """The smallest frozen share of the layers with which the pretrained network stays within the time."""
    for share in (0.0, 0.3, 0.6, 0.8, 1.0):
        model = ModelRecipe(family="pretrained", name=name, frozen=share)
        if now.fits(dataclasses.replace(now.recipes, model=model)):
            return share
    return None


def _fine_tuning(now: Situation) -> Iterator[Idea]:
    present = now.recipes.model
    if not present.levels and present.frozen == 1:
        yield Idea(
            "several-depths", "model", {"levels": LEVELS}, 0.35,
            "The last layer knows the classes that the network was pretrained for; what earlier stages saw helps with "
            "other classes, and costs next to nothing.",
            f"Let the classifier see the outputs of the backbone's last {LEVELS} stages, too (levels={LEVELS}).",
        )  # fmt: skip
    for share, value in ((0.6, 0.3), (0.8, 0.25), (0.4, 0.22), (0.2, 0.1), (0.0, 0.1)):
        looser = dataclasses.replace(present, frozen=share)
        if share < present.frozen and now.fits(dataclasses.replace(now.recipes, model=looser)):
            yield Idea(
                "unfreeze", "model", {"frozen": share}, value * (1 if present.frozen == 1 else 0.5),
                f"{present.frozen:.0%} of the pretrained layers are frozen; letting the later ones learn fits them to "
                "these images.",
                f"Freeze only the first {share:.0%} of the backbone's layers, and let the rest learn.",
            )  # fmt: skip
    if present.frozen < 1:
        tighter = min(1.0, round(present.frozen + 0.2, 2))
        yield Idea(
            "freeze-more", "model", {"frozen": tighter}, 0.1 if now.overfits else 0.03,
            "Frozen layers cannot be spoilt by few images, and cost less time.",
            f"Freeze the first {tighter:.0%} of the backbone's layers.",
        )  # fmt: skip
        if not present.probe:
            yield Idea(
                "classifier-first", "model", {"probe": True}, 0.08,
                "A new classifier sends large, meaningless gradients into the pretrained layers at first.",
                "Let the classifier start as the best linear one for the features (probe = True).",
            )  # fmt: skip
        if not present.thaw:
            yield Idea(
                "thaw-later", "model", {"thaw": 0.2}, 0.03,
                "What the new classifier asks of the pretrained layers is worth little before it has learnt.",
                "Let the classifier alone learn in the first fifth of the training, then thaw the backbone.",
            )  # fmt: skip
    for name in now.task.pretrained:
        if name != present.name:
            other = dataclasses.replace(present, name=name)
            if now.fits(dataclasses.replace(now.recipes, model=other)):
                yield Idea(
                    "other-backbone", "model", {"name": name}, 0.08, "Other pretrained weights are at hand too.",
                    f"Use {name} as the pretrained backbone.",
                )  # fmt: skip


def _known_networks(now: Situation) -> Iterator[Idea]:
    """Networks of timm from scratch, where there is the time for them."""
    present = now.recipes.model
    for name in designs.timm_networks(cost.side_of(now.recipes.data, now.task), now.task.gpu):
        settings: Settings = {"family": "timm", "name": name}
        if present.name != name and now.fits(dataclasses.replace(now.recipes, model=changed(present, settings))):
            yield Idea(
                f"network-{name.replace('_', '-')}", "model", settings, 0.15 if now.task.gpu else 0.03,
                f"There is time for a known architecture: {name}.",
                f"Use timm's {name}, not pretrained, with the right number of input channels and classes.",
            )  # fmt: skip


def _regularisation(now: Situation) -> Iterator[Idea]:
    present, overfits = now.recipes.model, now.overfits
    confident = "The network is far surer of the training images than of new ones." if overfits else (
        "Softer targets keep the logits small and often generalise better."
    )  # fmt: skip
    if present.label_smoothing:
        yield Idea(
            "no-label-smoothing", "model", {"label_smoothing": 0.0}, 0.02, "Hard targets let close classes part.",
            "Set label_smoothing to 0.",
        )  # fmt: skip
    else:
        yield Idea(
            "label-smoothing", "model", {"label_smoothing": 0.1}, 0.06 if overfits else 0.045, confident,
            "Smooth the labels by 0.1 (label_smoothing = 0.1).",
        )  # fmt: skip
    if present.dropout < 0.2:
        yield Idea(
            "dropout", "model", {"dropout": 0.2}, 0.06 if overfits else 0.01,
            "Dropout before the classifier keeps it from relying on single features.",
            "Put dropout of 0.2 before the classifier.",
        )  # fmt: skip
    else:
        yield Idea(
            "no-dropout", "model", {"dropout": 0.0}, 0.03 if now.underfits else 0.01,
            "Dropout slows learning down.", "Remove the dropout.",
        )  # fmt: skip
    if present.family != "plain" and not present.drop_path:
        yield Idea(
            "stochastic-depth", "model", {"drop_path": 0.1}, 0.06 if overfits else 0.01,
            "Skipping whole blocks at random regularises deep networks.", "Use stochastic depth (drop path) of 0.1.",
        )  # fmt: skip


def _views(now: Situation) -> Iterator[Idea]:
    """Test-time augmentation: costs nothing in training but a little validation."""
    present, small = now.recipes.model, cost.side_of(now.recipes.data, now.task) <= 64
    own_network = present.family != "pretrained"
    if present.views != "shifted":
        yield Idea(
            "shifted-views", "model", {"views": "shifted"}, 0.1 if small and own_network else 0.03,
            "Strided layers answer differently when an image is moved by a pixel.",
            "In evaluation mode, average the logits of the image and of copies moved by a pixel down, right and both.",
        )  # fmt: skip
    if present.views != "mirrored" and now.recipes.data.flip:
        yield Idea(
            "mirrored-views", "model", {"views": "mirrored"}, 0.07,
            "It has learnt from mirrored images, so two answers on each new image are to be had.",
            "In evaluation mode, average the logits of the image and of its mirror image.",
        )  # fmt: skip
    if present.views:
        yield Idea(
            "single-view", "model", {"views": ""}, 0.005, "Several views cost time.", "Look at each new image once."
        )
