"""A component as a choice of techniques with their numbers: what the expert thinks in, and what its sources carry.

Each source that the expert writes holds its recipe in the comment `# recipe: {…}`, so that it finds it again. An idea
of the analyst names the settings that it changes in brackets: `[longer-training epochs=24 lr=0.004] …`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from improve.domain import Component

Value = bool | int | float | str | tuple[int, ...]
Settings = Mapping[str, Value]

_LINE = re.compile(r"^# recipe: (\{.*\})\s*$", re.MULTILINE)
# The history cuts long texts: an idea may end in the middle, and its last setting with it.
_IDEA = re.compile(r"\[([a-z][a-z0-9-]*)((?: [a-z_]+=[^\s\]]*)*)(\]|(?: [a-z_]*)?\Z)")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,80}")


@dataclass(frozen=True)
class DataRecipe:
    """How images are prepared and varied. 0, "" and False: the technique is not used."""

    size: int = 0  # side in pixels that images are resized to; 0: as they come
    shift: int = 0  # pixels
    flip: bool = False  # left to right
    degrees: float = 0.0  # of a random turn, at most
    zoom: float = 0.0  # share by which an image may grow or shrink
    erase: float = 0.0  # probability of a blanked square
    color: float = 0.0  # strength of changes in brightness and contrast
    mixup: float = 0.0  # alpha
    cutmix: float = 0.0  # probability
    auto: str = ""  # randaugment | trivialaugment | augmix
    balanced: bool = False  # every class equally often

    component: ClassVar[Component] = "data"
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {
        "size": (0, 512), "shift": (0, 32), "degrees": (0, 45), "zoom": (0, 0.5), "erase": (0, 1), "color": (0, 0.8),
        "mixup": (0, 2), "cutmix": (0, 1),
    }  # fmt: skip
    options: ClassVar[Mapping[str, tuple[str, ...]]] = {"auto": ("", "randaugment", "trivialaugment", "augmix")}


@dataclass(frozen=True)
class ModelRecipe:
    """The network and its loss. `widths` are the channels of the stages, `blocks` the depth of each stage."""

    family: str = "plain"  # plain | residual | timm | pretrained
    name: str = ""  # timm's, for the last two
    stem: int = 1  # factor by which the first layer shrinks the image: 1, 2 or 4
    widths: tuple[int, ...] = (32, 64, 128)
    blocks: tuple[int, ...] = (1,)  # the last one stands for all further stages
    dropout: float = 0.0  # before the classifier
    drop_path: float = 0.0  # stochastic depth
    label_smoothing: float = 0.0
    frozen: float = 0.0  # share of a pretrained network's layers, from its input on, that never learn
    thaw: float = 0.0  # share of the training in which only the new head of a pretrained network learns
    levels: int = 0  # stages of a pretrained network whose outputs the head sees beside the last features
    probe: bool = False  # whether that head starts as the best linear classifier of the features
    views: str = ""  # shifted | mirrored: how new images are looked at more than once (test-time augmentation)

    def depth(self, stage: int) -> int:
        """Blocks of a stage."""
        return self.blocks[min(stage, len(self.blocks) - 1)]

    component: ClassVar[Component] = "model"
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {
        "stem": (1, 4), "widths": (4, 1024), "blocks": (0, 6), "dropout": (0, 0.7), "drop_path": (0, 0.5),
        "label_smoothing": (0, 0.3), "frozen": (0, 1), "thaw": (0, 1),
        "levels": (0, 6),
    }  # fmt: skip
    options: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "family": ("plain", "residual", "timm", "pretrained"),
        "views": ("", "shifted", "mirrored"),
    }


@dataclass(frozen=True)
class TrainingRecipe:
    """How the network learns. `warmup` is the share of all steps in which the learning rate rises."""

    optimizer: str = "adamw"  # adamw | sgd
    lr: float = 0.001  # the highest
    backbone_lr: float = 1.0  # learning rate of a pretrained backbone, as a factor of `lr`
    weight_decay: float = 0.01
    batch_size: int = 128
    epochs: int = 5
    schedule: str = "constant"  # constant | cosine | onecycle
    warmup: float = 0.0
    ema: float = 0.0  # decay of the averaged weights
    clip: float = 0.0  # largest norm of the gradient

    component: ClassVar[Component] = "training"
    ranges: ClassVar[Mapping[str, tuple[float, float]]] = {
        "lr": (1e-5, 2.0), "backbone_lr": (0.001, 1), "weight_decay": (0, 0.5), "batch_size": (4, 1024),
        "epochs": (1, 2000), "warmup": (0, 0.5), "ema": (0, 0.9999), "clip": (0, 100),
    }  # fmt: skip
    options: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "optimizer": ("adamw", "sgd"),
        "schedule": ("constant", "cosine", "onecycle"),
    }


Recipe = DataRecipe | ModelRecipe | TrainingRecipe
R = TypeVar("R", bound=DataRecipe | ModelRecipe | TrainingRecipe)


@dataclass(frozen=True)
class Recipes:
    """The recipes of a whole pipeline."""

    data: DataRecipe
    model: ModelRecipe
    training: TrainingRecipe

    def of(self, component: Component) -> Recipe:
        recipes: dict[Component, Recipe] = {"data": self.data, "model": self.model, "training": self.training}
        return recipes[component]

    def changed(self, settings: Settings) -> Recipes:
        """With these settings, each in the recipe that knows it."""
        return Recipes(changed(self.data, settings), changed(self.model, settings), changed(self.training, settings))


def changed(recipe: R, settings: Settings) -> R:
    """The recipe with those settings that it knows, brought into their ranges; what makes no sense is left out."""
    usable: dict[str, Any] = {}
    for name in settings:
        if name in recipe.__dataclass_fields__ and name not in ("component", "ranges", "options"):
            value = _fitting(recipe, name, settings[name])
            if value is not None:
                usable[name] = value
    return dataclasses.replace(recipe, **usable) if usable else recipe


def _fitting(recipe: Recipe, name: str, value: Any) -> Value | None:
    """The value as the field's type and within its range, or None."""
    usual = type(recipe).__dataclass_fields__[name].default  # it has the field's type
    if isinstance(usual, str):
        options = recipe.options.get(name)
        text = str(value)
        return text if (text in options if options else not text or _NAME.fullmatch(text)) else None
    if isinstance(usual, bool):
        return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}.get(str(value).lower())
    low, high = recipe.ranges[name]
    if isinstance(usual, tuple):
        parts = value if isinstance(value, (list, tuple)) else str(value).split("-")
        numbers = [_finite(part) for part in parts]
        usable = [int(min(high, max(low, n))) for n in numbers if n is not None]
        return tuple(usable) if 1 <= len(usable) <= 6 and len(usable) == len(numbers) else None
    found = _finite(value)
    if found is None:
        return None
    found = min(high, max(low, found))
    if name == "stem":
        return 1 if found < 2 else 2 if found < 4 else 4
    return round(found) if isinstance(usual, int) else float(found)


def _finite(value: Any) -> float | None:
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def comment(recipe: Recipe) -> str:
    """The line by which `find` reads a recipe back from a source: only what differs from the defaults."""
    plain = type(recipe)()
    values = {
        item.name: getattr(recipe, item.name)
        for item in dataclasses.fields(recipe)
        if getattr(recipe, item.name) != getattr(plain, item.name)
    }
    return f"# recipe: {json.dumps(values)}"


def find(kind: type[R], source: str) -> R | None:
    """The recipe that a source of the expert carries, or None if it carries none."""
    line = _LINE.search(source)
    if line is None:
        return None
    try:
        values = json.loads(line.group(1))
    except ValueError:
        return None
    return changed(kind(), {str(key): value for key, value in values.items()})


def cut_short(text: str) -> bool:
    """Whether a text ends within the brackets of an idea."""
    return any(match.group(3) != "]" for match in _IDEA.finditer(text))


def settings_in(text: str) -> tuple[tuple[str, ...], dict[str, Value]]:
    """Names and settings of the ideas in brackets that a text holds. Settings are texts until a recipe takes them."""
    names: list[str] = []
    settings: dict[str, Value] = {}
    for match in _IDEA.finditer(text):
        names.append(match.group(1))
        pairs = match.group(2).split()
        for pair in pairs if match.group(3) == "]" else pairs[:-1]:
            key, _, value = pair.partition("=")
            settings[key] = value
    return tuple(names), settings


def as_text(value: Value) -> str:
    """A value as it stands in brackets: `24`, `0.004`, `true`, `24-48-96`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "-".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def bracket(idea: str, settings: Settings) -> str:
    """`[idea key=value …]`: what the engineer reads the settings from, and the history remembers."""
    return "[" + " ".join([idea, *(f"{key}={as_text(value)}" for key, value in settings.items())]) + "]"
