"""The typed schema of the configuration: what each key means, in which unit; checks that span several keys.

The YAML files under `conf/` are composed by Hydra and merged over these classes, so a misspelt key or a wrong type
fails before anything runs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from improve.config.llm import LLMConfig, check_llm
from improve.domain import Split
from improve.errors import ConfigError
from improve.strategies import Strategy

# What the audit of the images may find that makes a result meaningless; each can be accepted by its name.
ACCEPTABLE = (
    "blank", "contradictions", "giveaway", "leakage", "missing_labels", "near_leakage", "numeric_labels",
    "several_labels", "similar_classes",
)  # fmt: skip

LABELS = ("folders", "parents", "names")  # where the class of an image in a folder is found


@dataclass
class ConstraintsConfig:
    # The architecture that the model must be built on: a name of timm or as papers write it ("ViT-B/16", "resnet18").
    model: str | None = None
    # true: it is for the team's roles; strategies that have none (zero_shot, best_of_n) are free (paper, section 4.1).
    roles_only: bool = False


@dataclass
class DatasetConfig:
    name: str = "???"  # how run folders and tables call it
    source: str = "???"  # which loader: a module of improve/datasets/sources
    path: str | None = None  # where the images are, for sources that need it
    description: str = ""  # what the user knows about the images, in natural language; the roles read it
    image_size: int | None = None  # side in pixels to which images are resized (square); None: the source decides
    channels: int | None = None  # 1 (grey) or 3 (RGB); None: grey only if every image is grey
    train: int | None = None  # number of training images; None: all that the fractions leave
    selection: int | None = None  # number of selection images; None: selection_fraction of the training images
    test: int | None = None  # number of test images; None: the given test set, else test_fraction
    selection_fraction: float = 0.15
    test_fraction: float = 0.2  # the paper's 80/20 split (section 4.1)
    split_seed: int = 0  # the split is a function of the images and this number alone, never of the run's seed
    fit_seconds: float = 60.0  # suggested time limit of one training: executor.fit_seconds follows it unless given
    unreadable: str = "fail"  # fail | skip: what to do with files that cannot be read as images
    unlabelled: str = "fail"  # fail | skip: csv, hub: what to do with images that have no label
    labels: str | None = None  # folder: where an image's class is found: folders | parents | names (see folder.yaml)
    path_column: str | None = None  # csv: the column of file paths; hub: of images; None: "path", the only image column
    label_column: str = "label"  # csv, hub: the column of class names
    label_columns: list[str] = field(default_factory=list)  # csv: instead, a column of 0 and 1 for each class (one-hot)
    image_root: str | None = None  # csv: the folder from which the paths in the table start; None: the table's folder
    image_suffix: str = ""  # csv: what is put behind each path in the table (".jpg")
    split_column: str | None = None  # csv: the column that says train, val or test; None: our split
    group_column: str | None = None  # csv: the column of what must stay in one split (a patient, a writer); None: none
    hub_config: str | None = None  # hub: which configuration of a dataset that has several
    hub_revision: str | None = None  # hub: a commit, branch or tag; None: the newest
    severity: int | None = None  # cifar10c: how strong the corruptions are, 1 or 5
    subset: int | None = None  # use so many images of all, stratified, for quick work; None: all
    group_near_duplicates: bool = False  # keep pictures that are nearly the same in one split
    accept: list[str] = field(default_factory=list)  # findings of the audit (see ACCEPTABLE) that shall not stop a run
    card: str = "full"  # full | none: none hides from the roles all but shapes and counts (ablation)
    constraints: ConstraintsConfig = field(default_factory=ConstraintsConfig)


@dataclass
class StrategyConfig:
    name: str = "???"  # iterative | global | zero_shot | best_of_n | random: see improve/strategies
    iterations: int = 8  # after the first pipeline: revisions, or further pipelines under best_of_n
    unified_initialization: bool = True  # the architect writes the whole first pipeline in one pass (paper, A.1)
    repairs: int = 2  # further tries at code that failed a check, per iteration
    history: int = 12  # iterations that the analyst is shown in full; older ones are one line each


@dataclass
class PromptsConfig:
    name: str = "???"
    path: str | None = None  # folder of the texts; None: the one shipped under conf/prompts/NAME


@dataclass
class AcceptanceConfig:
    rule: str = "???"  # racing | paired | paper
    # racing: the share of runs in which nothing is better and yet something is called better, at most.
    # paired: the largest one-sided p-value of the exact McNemar test that accepts.
    alpha: float = 0.05
    trainings: int = 3  # racing: of a candidate, at most, while it is not decided whether the search goes on from it
    share: float = 0.3  # racing: trainings beyond one a candidate, for each candidate so far


@dataclass
class ExecutorConfig:
    fit_seconds: float = 60.0  # time limit of one training, which is planned to fill it at most
    # Batches that a training learns from, instead of as many as fit in the time limit (it then only stops what is much
    # too slow): results no longer depend on the machine's speed. A larger network or batch costs nothing then.
    steps: int | None = None
    smoke_seconds: float = 60.0  # … of the smoke run
    predict_seconds: float = 300.0  # … of one prediction
    threads: int | None = None  # CPU threads of one training; None: all cores but one
    workers: int = 0  # DataLoader workers
    accelerator: str = "auto"  # auto | cpu | gpu
    precision: str = "32-true"  # Lightning's names
    memory_gib: float = 8.0  # of all processes of one training together
    disk_gib: float = 4.0  # of what one training writes
    output_mib: float = 4.0  # of what one training prints; the rest is dropped
    pretrained: bool = True  # whether a pipeline may use the pretrained weights that are at hand
    weights: str | None = None  # folder with pretrained weights (NAME.pth, NAME.safetensors), beside what is installed
    fetch_weights: list[str] = field(default_factory=list)  # timm's names; fetched from the hub unless at hand already


@dataclass
class SandboxConfig:
    mode: str = "auto"  # require | auto | off


@dataclass
class DisplayConfig:
    mode: str = "auto"  # auto | rich | plain | none


@dataclass
class TrackingConfig:
    """Weights & Biases, by a process of its own that only reads the run's folder: it changes nothing in a run."""

    mode: str = "none"  # none | wandb | wandb_offline
    project: str = "improve"  # of W&B
    entity: str | None = None  # user or team of W&B; None: $WANDB_ENTITY, else the key's own
    tags: list[str] = field(default_factory=list)
    wait_seconds: float = 10.0  # the longest that the end of a run waits for it; the upload then goes on by itself
    sync_seconds: float = 600.0  # time limit of the upload


@dataclass
class BudgetConfig:
    """The most that the run may use, with its earlier sessions; None: no limit. Reached, it ends with its best."""

    usd: float | None = None  # for the language model; refused where a model's price is not known
    tokens: int | None = None  # read and written by it
    minutes: float | None = None  # wall time
    gpu_minutes: float | None = None  # wall time of what runs on a GPU, times GPUs


@dataclass
class Config:
    llm: LLMConfig = field(default_factory=LLMConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    acceptance: AcceptanceConfig = field(default_factory=AcceptanceConfig)
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    display: DisplayConfig = field(default_factory=DisplayConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    protocol: str = "honest"  # honest | paper: the test images also select, any increase counts, nothing is repaired
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    dry_run: bool = False  # write the first prompt, estimate calls, tokens and money, and ask nobody
    seed: int = 0  # of the run: initial weights, batches, the model's sampling where it can be seeded
    retry_failed: bool = False  # start again what ended without a score or cannot go on; the attempt is kept
    study: str = ""  # the table or figure that this run is for; its runs share a folder below `outputs`
    outputs: str = "outputs"  # folder of all runs
    run_dir: str | None = None  # this run's folder; None: a stable name below `outputs`
    cache_dir: str | None = None  # prepared images; None: $IMPROVE_CACHE, else ~/.cache/improve
    # What `llm.roles` names, with all its settings: put here when the configuration is composed, not by people.
    role_llms: dict[str, LLMConfig] = field(default_factory=dict, metadata={"omegaconf_ignore": True})


# Keys that change where things go, how they look or when a run ends early, but not what its steps compute.
PRESENTATION = (
    "display", "tracking", "study", "outputs", "run_dir", "cache_dir", "budget", "dry_run", "retry_failed",
)  # fmt: skip


def settings(config: Config) -> dict[str, Any]:
    """The part of the configuration that decides what a run computes, as plain values."""
    return {key: value for key, value in dataclasses.asdict(config).items() if key not in PRESENTATION}


def run_name(config: Config) -> str:
    """A stable name: the same command finds its run again, another setting gets another folder.

    It depends on what differs from the schema's defaults: a later version that has more keys finds the run, too.
    """
    given = _given(settings(config), settings(Config()))
    digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:6]
    protocol = () if config.protocol == "honest" else (config.protocol,)
    parts = (config.dataset.name, config.strategy.name, config.llm.name, f"seed{config.seed}", *protocol, digest)
    return "-".join("".join(c if c.isalnum() or c in "._" else "_" for c in part) for part in parts)


def _given(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """The values that are not the defaults, without the groups in which all are."""
    given: dict[str, Any] = {}
    for key, value in values.items():
        default = defaults.get(key)
        kept = _given(value, default) if isinstance(value, dict) and isinstance(default, dict) else value
        if value != default:
            given[key] = kept
    return given


def selection_split(config: Config) -> Split:
    """The split whose images decide verdicts."""
    return "test" if config.protocol == "paper" else "selection"


def settle(config: Config, strategy: Strategy) -> Config:
    """The configuration with what its strategy fixes (`Strategy.fixed`, `unused`)."""
    unused = {key: getattr(StrategyConfig(), key) for key in strategy.unused}
    name = strategy.recorded_as or strategy.name
    settled = dataclasses.replace(config.strategy, name=name, **unused, **strategy.fixed)
    dataset = config.dataset
    if dataset.constraints.roles_only and not strategy.refines:
        dataset = dataclasses.replace(dataset, constraints=ConstraintsConfig())
    return dataclasses.replace(config, strategy=settled, dataset=dataset)


def check(config: Config) -> None:
    """Refuse values that are out of range or do not go together, naming the keys. Raises `ConfigError`."""
    for key, value, least in (
        ("strategy.iterations", config.strategy.iterations, 0),
        ("strategy.repairs", config.strategy.repairs, 0),
        ("executor.fit_seconds", config.executor.fit_seconds, 1),
        ("executor.predict_seconds", config.executor.predict_seconds, 1),
        ("executor.memory_gib", config.executor.memory_gib, 1),
        ("tracking.wait_seconds", config.tracking.wait_seconds, 0),
        ("tracking.sync_seconds", config.tracking.sync_seconds, 1),
    ):
        if value < least:
            raise ConfigError(f"{key}={value} is too small.", f"use {key}={least} or more")
    if config.executor.steps is not None and config.executor.steps < 1:
        raise ConfigError(f"executor.steps={config.executor.steps} is too small.", "use executor.steps=1 or more")
    for key, text, valid in (
        ("sandbox.mode", config.sandbox.mode, ("require", "auto", "off")),
        ("display.mode", config.display.mode, ("auto", "rich", "plain", "none")),
        ("tracking.mode", config.tracking.mode, ("none", "wandb", "wandb_offline")),
        ("dataset.unreadable", config.dataset.unreadable, ("fail", "skip")),
        ("dataset.unlabelled", config.dataset.unlabelled, ("fail", "skip")),
        *(("dataset.labels", labels, LABELS) for labels in [config.dataset.labels] if labels is not None),
        ("dataset.card", config.dataset.card, ("full", "none")),
        *(("dataset.accept", name, ACCEPTABLE) for name in config.dataset.accept),
        ("acceptance.rule", config.acceptance.rule, ("racing", "paired", "paper")),
        ("protocol", config.protocol, ("honest", "paper")),
        ("executor.accelerator", config.executor.accelerator, ("auto", "cpu", "gpu")),
    ):
        if text not in valid:
            raise ConfigError(f"{key}={text} is not an option.", f"use one of {', '.join(valid)}")
    for key, share in (
        ("dataset.selection_fraction", config.dataset.selection_fraction),
        ("dataset.test_fraction", config.dataset.test_fraction),
        ("acceptance.alpha", config.acceptance.alpha),
    ):
        if not 0 < share < 1:
            raise ConfigError(f"{key}={share} is not between 0 and 1.", f"use for instance {key}=0.1")
    if not all(c.isalnum() or c in "._-" for c in config.study) or config.study.startswith("."):
        raise ConfigError(f"study={config.study} cannot be a folder's name.", "use letters, digits, '.', '_' and '-'")
    _check_tracking(config.tracking)
    _check_protocol(config)
    _check_dataset(config.dataset)
    for key, limit in dataclasses.asdict(config.budget).items():
        if limit is not None and limit <= 0:
            raise ConfigError(f"budget.{key}={limit} is not above 0.", f"leave budget.{key} away for no limit")
    for llm in (config.llm, *config.role_llms.values()):
        check_llm(llm)
    if any(llm.cassette for llm in config.role_llms.values()) or (config.llm.cassette and config.role_llms):
        raise ConfigError("llm.roles does not go together with llm=replay.", "leave out llm.roles: a cassette has all")


def _check_tracking(tracking: TrackingConfig) -> None:
    """What W&B would refuse, and long after the run had begun."""
    for key, name in (("project", tracking.project), ("entity", tracking.entity)):
        if name is not None and (not name.strip() or len(name) > 128 or set(name) & set("/\\#?%:")):
            raise ConfigError(f"tracking.{key}={name} cannot be a name in W&B.", "use 1 to 128 characters, no /\\#?%:")
    for tag in tracking.tags:
        if not 1 <= len(tag) <= 64:
            raise ConfigError(f"tracking.tags: {tag!r} cannot be a tag in W&B.", "use 1 to 64 characters")


def _check_protocol(config: Config) -> None:
    """`protocol=paper` means its rules as a whole: a mixture would be neither comparable nor honest."""
    for key, value, needed, given in (
        ("acceptance.rule", config.acceptance.rule, "paper", "acceptance=… or acceptance.rule=…"),
        ("strategy.repairs", config.strategy.repairs, 0, "strategy.repairs=…"),
    ):
        if config.protocol == "paper" and value != needed:
            raise ConfigError(
                f"protocol=paper and {key}={value} do not go together: under the paper's protocol it is {needed}.",
                f"leave out {given}, or leave out protocol=paper",
            )


def _check_dataset(dataset: DatasetConfig) -> None:
    for key, number, least in (
        ("dataset.image_size", dataset.image_size, 4),
        ("dataset.train", dataset.train, 1),
        ("dataset.selection", dataset.selection, 1),
        ("dataset.test", dataset.test, 1),
        ("dataset.split_seed", dataset.split_seed, 0),
        ("dataset.subset", dataset.subset, 8),
    ):
        if number is not None and number < least:
            raise ConfigError(f"{key}={number} is too small.", f"use {key}={least} or more")
    if dataset.channels not in (None, 1, 3):
        raise ConfigError(f"dataset.channels={dataset.channels} is not an option.", "use 1 (grey), 3 (RGB) or null")
    if dataset.severity not in (None, 1, 5):
        raise ConfigError(f"dataset.severity={dataset.severity} is not an option.", "use 1 or 5")
    for source, hint in (
        ("folder", "DIR, the folder that has one folder for each class"),
        ("csv", "FILE.csv, a table of image paths and labels"),
        ("hub", "OWNER/NAME, a dataset of the Hugging Face hub, or a folder that holds one"),
    ):
        if dataset.source == source and not dataset.path:
            raise ConfigError(f"dataset={source} needs dataset.path.", f"add dataset.path={hint}")
    counts = {"train": dataset.train, "selection": dataset.selection, "test": dataset.test}
    given = [f"dataset.{name}" for name, count in counts.items() if count is not None]
    if dataset.subset is not None and 0 < len(given) < len(counts):
        raise ConfigError(
            f"dataset.subset does not go together with {' and '.join(given)} alone.",
            "give all of dataset.train, dataset.selection and dataset.test, or none of them, or no subset",
        )
