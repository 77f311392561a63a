"""From a prompt to facts: card, context, history, training log and sources, as far as the prompt has them.

Prompts are texts that people may rewrite, so everything is optional here: what is absent or cannot be read becomes a
neutral value, never an error. Whoever needs a fact must be able to do without it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from improve.domain import COMPONENTS, ENGINEER_OF
from improve.expert.recipe import Settings, cut_short, settings_in

_BLOCK = re.compile(r"^```(\w*)[ \t]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
# The same safe loader, in C where that is built in: prompts are long and the other one is slow.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_FEEDBACK = re.compile(
    r"^What the Performance Analyst asks of you:\s*\n(.*?)(?=^Your last version failed|^Answer with the whole|\Z)",
    re.DOTALL | re.MULTILINE,
)
_FAILED_CHECK = re.compile(r"^Your last version failed its check, ([^:\n]+):\s*(.*)$", re.MULTILINE)
_FAILED_PIPELINE = re.compile(r"^The team's last pipeline failed, (.*)$", re.MULTILINE)
_ZERO_SHOT = re.compile(r"^Generate code for training a model on a dataset\b", re.MULTILINE)
_ROLE = re.compile(r"\bYou are the (Project |Performance )?(\w+(?: \w+)?) of\b", re.IGNORECASE)
_PLAN = re.compile(r"^The architect's plan:\s*\n(.*?)(?=^The present |^What the Performance|^Answer with)", re.S | re.M)


@dataclass(frozen=True)
class Task:
    """What is known of the images and the machine. Sizes in pixels, seconds of one training."""

    description: str = ""
    classes: tuple[str, ...] = ()
    num_classes: int = 10
    height: int = 32
    width: int = 32
    channels: int = 3
    train_images: int = 5000  # that the optimiser sees, without those for validation
    fewest: int = 0  # images of the rarest class in the training split; 0: unknown
    most: int = 0
    fit_seconds: float = 60.0
    threads: int = 1
    gpu: bool = False
    pretrained: tuple[str, ...] = ()

    @property
    def imbalance(self) -> float:
        """Images of the commonest class for each image of the rarest."""
        return self.most / self.fewest if self.fewest else 1.0

    @property
    def side(self) -> int:
        return max(self.height, self.width)


@dataclass(frozen=True)
class Step:
    """One line of the history, or of what the same iteration tries already.

    `settings` are those that its idea named; accuracies are None where absent.
    """

    iteration: int
    component: str
    tried: str
    ideas: tuple[str, ...]
    settings: Settings
    verdict: str
    accuracy: float | None
    reason: str
    cut_short: bool  # the history shows only the beginning of its idea

    @property
    def accepted(self) -> bool:
        """Whether the team went on from it."""
        return self.verdict.startswith(("accepted", "kept"))

    @property
    def failed(self) -> bool:
        return self.verdict.startswith("failed")

    @property
    def surpassed(self) -> bool:
        """Whether it looked better, and another candidate of its iteration even more so."""
        return "surpassed" in self.verdict

    @property
    def pending(self) -> bool:
        """Whether it is tried in this very iteration, so that nothing is known of it."""
        return not self.verdict

    @property
    def within_noise(self) -> bool:
        return self.verdict.startswith("rejected") and "noise" in self.verdict


@dataclass(frozen=True)
class Log:
    """The incumbent's training. `time_used` is a share of the limit, `fitting` the epochs that would fill the limit."""

    time_used: float | None = None
    epochs: float = 0
    planned: float = 0
    fitting: float | None = None
    rows: tuple[Mapping[str, float], ...] = ()

    def series(self, name: str) -> list[float]:
        return [row[name] for row in self.rows if name in row]


@dataclass(frozen=True)
class Facts:
    """Everything that a prompt says."""

    role: str
    task: Task = field(default_factory=Task)
    history: tuple[Step, ...] = ()
    log: Log = field(default_factory=Log)
    sources: Mapping[str, str] = field(default_factory=dict)
    plan: str = ""
    feedback: str = ""
    failed: str = ""  # "REASON: MESSAGE" of a version that needs mending, or of a whole first pipeline
    whole_pipeline: bool = False  # the architect is to write the code too
    all_components: bool = False  # the analyst is to address all engineers
    step: Mapping[str, Any] = field(default_factory=dict)


def read(system: str, user: str) -> Facts:
    """The facts of a prompt. Never fails."""
    blocks = _blocks(user)
    card = _mapping(blocks.get("dataset card", ""))
    context = _mapping(blocks.get("context", ""))
    feedback = _FEEDBACK.search(user)
    failed = _FAILED_CHECK.search(user) or _FAILED_PIPELINE.search(user)
    plan = _PLAN.search(user)
    return Facts(
        role="zero_shot" if _ZERO_SHOT.search(user) else _role(system),
        task=_task(card, context),
        history=_history(_yaml(blocks.get("history", ""))) + _history(_yaml(blocks.get("siblings", ""))),
        log=_log(_mapping(blocks.get("training log", ""))),
        sources={name: blocks[key] for name in COMPONENTS if (key := f"present {name}.py") in blocks},
        plan=plan.group(1).strip() if plan else "",
        feedback=feedback.group(1).strip() if feedback else "",
        failed=": ".join(failed.groups()) if failed else "",
        whole_pipeline="the three files" in user or "whole first pipeline" in system,
        all_components='"component": "all"' in user,
        step=_mapping(blocks.get("step", "")),
    )


def _role(system: str) -> str:
    found = _ROLE.search(system)
    name = (found.group(2) if found else system[:200]).lower().replace(" ", "_")
    for role in (*ENGINEER_OF.values(), "architect", "analyst", "summarizer"):
        if role in name:
            return role
    return "analyst"


def _blocks(text: str) -> dict[str, str]:
    """Fenced blocks by the name in their first line's comment; the content is without that line."""
    found = {}
    for match in _BLOCK.finditer(text):
        first, _, rest = match.group(2).partition("\n")
        if first.startswith("#"):
            found[first.lstrip("# ").split("(")[0].strip().lower()] = rest
    return found


def _yaml(text: str) -> Any:
    try:
        return yaml.load(text, _LOADER)
    except yaml.YAMLError:
        return None


def _mapping(text: str) -> dict[str, Any]:
    value = _yaml(text)
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else {}


def _sub(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = values.get(key)
    return value if isinstance(value, dict) else {}


def number(value: Any) -> float | None:
    """A number, or the first one in a text such as "about 30% of the limit" (30.0); None if there is none."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return float(value) if abs(value) < 1e12 else None  # also false for NaN
    found = _NUMBER.search(str(value).replace(",", ""))
    return float(found.group()) if found and len(found.group()) < 13 else None


def _positive(value: Any, default: int) -> int:
    found = number(value)
    return int(found) if found is not None and found >= 1 else default


def _task(card: Mapping[str, Any], context: Mapping[str, Any]) -> Task:
    image = {**_sub(card, "image"), **_sub(context, "image")}
    classes = card.get("classes")
    names = tuple(str(name) for name in classes) if isinstance(classes, list) else ()
    per_class = {**_sub(card, "images_per_class"), **_sub(context, "images_per_class")}
    hardware = str(context.get("hardware", "")).lower()
    pretrained = context.get("pretrained")
    plain = Task()
    return Task(
        description=f"{card.get('name') or ''}. {card.get('description') or ''}",
        classes=names,
        num_classes=max(2, _positive(context.get("num_classes"), len(names) or plain.num_classes)),
        height=_positive(image.get("height"), plain.height),
        width=_positive(image.get("width"), plain.width),
        channels=_positive(image.get("channels"), plain.channels),
        train_images=_positive(
            context.get("train_images"), int(0.9 * _positive(_sub(card, "counts").get("train"), plain.train_images))
        ),
        fewest=_positive(per_class.get("min"), 0),
        most=_positive(per_class.get("max"), 0),
        fit_seconds=max(1.0, number(context.get("fit_seconds")) or plain.fit_seconds),
        threads=_positive(context.get("threads"), 1),
        gpu=("gpu" in hardware or "cuda" in hardware) and "no gpu" not in hardware,
        pretrained=tuple(str(name) for name in pretrained) if isinstance(pretrained, list) else (),
    )


def _history(value: Any) -> tuple[Step, ...]:
    steps = []
    for item in value if isinstance(value, list) else []:
        if not isinstance(item, dict):
            continue
        tried = str(item.get("tried") or "")
        ideas, settings = settings_in(tried)
        steps.append(
            Step(
                iteration=int(number(item.get("iteration")) or 0),
                component=str(item.get("component") or ""),
                tried=tried,
                ideas=ideas,
                settings=settings,
                verdict=str(item.get("verdict") or ""),
                accuracy=number(item.get("accuracy")),
                reason=str(item.get("reason") or ""),
                cut_short=cut_short(tried),
            )
        )
    return tuple(steps)


def _log(value: Mapping[str, Any]) -> Log:
    used = number(value.get("time_used"))
    rows = value.get("rows")
    numeric = [
        {str(key): found for key, item in row.items() if (found := number(item)) is not None}
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict)
    ]
    epochs = number(value.get("epochs")) or 0.0
    if used is not None and "under" in str(value.get("time_used")):
        used *= 0.7  # "under 10%": somewhere below
    fitting = value.get("epochs_that_fit")
    return Log(
        time_used=used / 100 if used else None,
        epochs=max(0.0, epochs),
        planned=max(0.0, number(value.get("planned_epochs")) or epochs),
        # "more than 80" is no measurement.
        fitting=None if "more" in str(fitting) else number(fitting) or None,
        rows=tuple(numeric),
    )
