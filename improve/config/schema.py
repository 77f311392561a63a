"""The typed schema of the configuration: each key with its type, its default and its meaning.

The YAML files under `conf/` are composed by Hydra and merged over these classes, so a misspelt key or a wrong type
fails before anything runs. `improve keys` prints what is said here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from improve.config.keys import MISSING, key

# What the audit of the images may find that makes a result meaningless; each can be accepted by its name.
ACCEPTABLE = (
    "blank", "contradictions", "giveaway", "leakage", "missing_labels", "near_leakage", "numeric_labels",
    "several_labels", "similar_classes",
)  # fmt: skip
FITS = ("crop", "pad", "squash")  # what becomes of a picture's proportions
LABELS = ("folders", "parents", "names")  # where the class of an image in a folder is found
STRUCTURED = ("json_schema", "json_object", "text")
LIMIT_PARAMETERS = ("max_tokens", "max_completion_tokens", "none")


@dataclass
class RolesConfig:
    """A model of its own for a role: the name of an option of llm; null: the run's model."""

    architect: str | None = key(None, "who plans the pipeline")
    data_engineer: str | None = key(None, "who writes data.py")
    model_engineer: str | None = key(None, "who writes model.py")
    training_engineer: str | None = key(None, "who writes training.py")
    analyst: str | None = key(None, "who chooses what to improve")
    summarizer: str | None = key(None, "who sums up an iteration")


@dataclass
class LLMConfig:
    """who designs: a language model, or the rule-based expert (offline)"""

    name: str = key(MISSING, "how run folders and tables call it")
    model: str = key(MISSING, "litellm's name, PROVIDER/MODEL; behind api_base the server's own, sent exactly as it is")
    api_base: str | None = key(None, "URL of an OpenAI-compatible server (or of another provider's kind)")
    provider: str | None = key(
        None,
        "whose protocol is spoken, by litellm's name: openai, anthropic, gemini …; null: behind api_base OpenAI's, "
        "else that of the provider with which the model's name begins",
    )
    api_key_env: str | None = key(None, "NAME of the environment variable that holds the key; never the key itself")
    reasoning: bool = key(
        False, "it thinks before it writes: no temperature, the limit is sent as max_completion_tokens"
    )
    reasoning_effort: str | None = key(None, "low, medium, high …, as the provider names them; null: its default")
    temperature: float | None = key(None, "null: the provider's default")
    send_seed: bool = key(True, "send the run's seed with each call, where litellm knows that the provider takes one")
    system_role: bool = key(True, "false: the system's text stands before the user's, for models without that role")
    limit_parameter: str | None = key(
        None,
        "the name under which max_output_tokens is sent (none: not at all; the server's own limit holds, and costs are "
        "not bounded); null: by reasoning",
        options=LIMIT_PARAMETERS,
    )
    structured: str = key(
        "json_schema",
        "how JSON is asked for (text: by instruction alone); what the server refuses is learnt at its first refusal, "
        "so this names the best that may work",
        options=STRUCTURED,
    )
    parameters: dict[str, Any] = key({}, "further ones, as litellm names them: +llm.parameters.top_p=0.9")
    cassette: str | None = key(None, "llm=replay: folder of the run, or the file, whose replies are given again")
    context_tokens: int | None = key(None, "limit of prompt and reply together; null: not known, the provider decides")
    max_output_tokens: int = key(8192, "limit of one reply, its reasoning included", least=16)
    usd_per_million_input: float | None = key(
        None,
        "US dollars for a million tokens; null: as litellm's list has it, else unknown (said so, never 0)",
        least=0,
    )
    usd_per_million_cached_input: float | None = key(None, "null: as fresh input", least=0)
    usd_per_million_output: float | None = key(None, "reasoning tokens are paid as output", least=0)
    requests_per_minute: float | None = key(
        None, "what the provider allows, all processes with the same cache_dir together; null: no limit", least=0.01
    )
    tokens_per_minute: float | None = key(None, "as requests_per_minute: tokens read and written", least=1)
    timeout_seconds: float = key(600.0, "of one try", least=0.1)
    retry_seconds: float = key(900.0, "of one call: no further try begins and no wait ends after it", least=0)
    retry_wait_seconds: float = key(
        1.0, "before the first retry where the server names no time; doubles, up to 60", least=0
    )
    roles: RolesConfig = field(default_factory=RolesConfig)


@dataclass
class ConstraintsConfig:
    """What every pipeline has to keep to."""

    model: str | None = key(
        None,
        'architecture that the model must be built on: a name of timm, or as papers write it ("ViT-B/16", "resnet18")',
    )
    roles_only: bool = key(
        False,
        "it is for the team's roles; strategies that have none (zero_shot, best_of_n) are free (paper, section 4.1)",
    )


@dataclass
class DatasetConfig:
    """the images: your folder or table, or a known dataset"""

    name: str = key(MISSING, "how run folders and tables call it")
    source: str = key(MISSING, "which loader: a module of improve/datasets/sources")
    path: str | None = key(None, "where the images are, for sources that need it")
    description: str = key("", "what you know about the images, in natural language; the roles read it")
    image_size: int | None = key(
        None, "side in pixels of what a training sees; null: chosen from the images and the time limit", least=4
    )
    fit: str | None = key(
        None,
        "how pictures in files become squares: the middle, filled up, or stretched; null: by their proportions",
        options=FITS,
    )
    channels: int | None = key(None, "1 (grey) or 3 (RGB); null: grey only if every image is grey")
    train: int | None = key(None, "number of training images; null: all that the fractions leave", least=1)
    selection: int | None = key(
        None, "number of selection images; null: selection_fraction of the training images", least=1
    )
    test: int | None = key(None, "number of test images; null: the given test set, else test_fraction", least=1)
    selection_fraction: float = key(0.15, "share of the training images that select, where no number is given")
    test_fraction: float = key(0.2, "share of all images that test; 0.2 is the paper's 80/20 split (section 4.1)")
    split_seed: int = key(
        0, "the split is a function of the images and this number alone, never of the run's seed", least=0
    )
    fit_seconds: float = key(60.0, "suggested time limit of one training: executor.fit_seconds follows it unless given")
    unreadable: str = key("fail", "what to do with files that cannot be read as images", options=("fail", "skip"))
    unlabelled: str = key("fail", "csv, hub: what to do with images that have no label", options=("fail", "skip"))
    labels: str | None = key(
        None,
        "folder: where an image's class is found; null: as the folder looks (see conf/dataset/folder.yaml)",
        options=LABELS,
    )
    path_column: str | None = key(
        None, 'csv: the column of file paths; hub: of images; null: "path", the only image column'
    )
    label_column: str = key("label", "csv, hub: the column of class names")
    label_columns: list[str] = key([], "csv: instead, a column of 0 and 1 for each class (one-hot)")
    image_root: str | None = key(
        None, "csv: the folder from which the paths in the table start; null: the table's folder"
    )
    image_suffix: str = key("", 'csv: what is put behind each path in the table (".jpg")')
    split_column: str | None = key(None, "csv: the column that says train, val or test; null: our split")
    group_column: str | None = key(
        None, "csv: the column of what must stay in one split (a patient, a writer); null: none"
    )
    hub_config: str | None = key(None, "hub: which configuration of a dataset that has several")
    hub_revision: str | None = key(None, "hub: a commit, branch or tag; null: the newest")
    severity: int | None = key(None, "cifar10c: how strong the corruptions are, 1 or 5")
    subset: int | None = key(None, "use so many images of all, stratified, for quick work; null: all", least=8)
    group_near_duplicates: bool = key(False, "keep pictures that are nearly the same in one split")
    accept: list[str] = key([], "findings of the audit that shall not stop a run", options=ACCEPTABLE)
    card: str = key("full", "none hides from the roles all but shapes and counts (ablation)", options=("full", "none"))
    constraints: ConstraintsConfig = field(default_factory=ConstraintsConfig)


@dataclass
class StrategyConfig:
    """how it is refined: one component at a time, all at once, …"""

    name: str = key(MISSING, "iterative, global, zero_shot, best_of_n or random: see improve/strategies")
    iterations: int = key(8, "after the first pipeline: revisions, or further pipelines under best_of_n", least=0)
    candidates: int = key(
        1,
        "of each iteration after the first pipeline: different changes of the best pipeline, trained side by side "
        "(executor.slots) and judged together, with a correction for their number; the best of them is gone on from",
        least=1,
    )
    unified_initialization: bool = key(True, "the architect writes the whole first pipeline in one pass (paper, A.1)")
    repairs: int = key(2, "further tries at code that failed a check, per iteration", least=0)
    history: int = key(12, "iterations that the analyst is shown in full; older ones are one line each")


@dataclass
class PromptsConfig:
    """what the roles are told; prompts=./FOLDER for your own texts"""

    name: str = key(MISSING, "how records call the set")
    path: str | None = key(None, "folder of the texts; null: the one shipped under conf/prompts/NAME")


@dataclass
class AcceptanceConfig:
    """when a change counts as better"""

    rule: str = key(
        MISSING,
        "racing: over images and training seeds; paired: an exact test on the same images; paper: any increase",
        options=("racing", "paired", "paper"),
    )
    alpha: float = key(
        0.2,  # what names of older runs are made with; each rule's option has its own
        "racing: the share of runs in which nothing is better and yet something is called better, at most; paired: the "
        "largest one-sided p-value of the exact McNemar test that accepts",
    )
    trainings: int = key(
        3, "racing: of a candidate, at most, while it is not decided whether the search goes on from it", least=1
    )
    share: float = key(0.3, "racing: trainings beyond one a candidate, for each candidate after the fifth", least=0)


@dataclass
class FinishConfig:
    """what is delivered: one training of the best, several together, or one on more images"""

    name: str = key(
        "single",
        "single: one training; ensemble: the mean of the probabilities of `members` trainings; refit: one more, on all "
        "images but the test images",
        options=("single", "ensemble", "refit"),
    )
    members: int = key(
        3, "ensemble: trainings, those of the races included; what is missing is trained after the loop", least=2
    )


@dataclass
class RayConfig:
    """executor=ray: the cluster, and what one training asks of it."""

    address: str = key(
        "auto",
        "of the cluster: HOST:PORT where this machine is one of its nodes (auto: found there), ray://HOST:10001 from "
        "elsewhere",
    )
    num_cpus: float = key(2.0, "CPUs, as Ray counts them, that one training asks for", least=0)
    num_gpus: float = key(0.0, "GPUs that one training asks for; 0: it runs on CPUs", least=0)
    accelerator_type: str | None = key(None, "Ray's name of the kind of GPU (H100); null: any")
    cache_dir: str | None = key(
        None, "folder on the nodes for what they were sent; null: $IMPROVE_NODE_CACHE there, else ~/.cache/improve-node"
    )
    cache_gib: float = key(20.0, "of that folder on each node; what was used longest ago goes first", least=0)
    wait_seconds: float = key(600.0, "the longest that the cluster may have no node of this size before the run stops")
    retries: int = key(
        5, "times that a training is begun again because its node or its process there was lost", least=0
    )
    idle_seconds: float = key(20.0, "how long CPUs and GPUs are held between one use and the next", least=0)


@dataclass
class ExecutorConfig:
    """where trainings run, and their time, memory and device"""

    name: str = key(
        "local",
        "where they run: on this machine, or on the nodes of a Ray cluster",
        options=("local", "ray"),
    )
    fit_seconds: float = key(60.0, "time limit of one training, which is planned to fill it at most", least=1)
    steps: int | None = key(
        None,
        "batches that a training learns from, instead of as many as fit in the time limit (it then only stops what is "
        "much too slow): results no longer depend on the machine's speed, and a larger network or batch costs nothing",
        least=1,
    )
    smoke_seconds: float = key(60.0, "time limit of the smoke run")
    predict_seconds: float = key(300.0, "time limit of one prediction", least=1)
    slots: str = key(
        "auto",
        "trainings at a time, among which cores and GPUs are divided, or auto: as many as strategy.candidates, but no "
        "more than there are GPUs, or without any cores; more than one are for the candidates of an iteration and for "
        "further trainings",
    )
    threads: int | None = key(
        None, "CPU threads of one training; null: all cores but one, or with several slots its share of the cores"
    )
    workers: int = key(0, "DataLoader workers")
    accelerator: str = key("auto", "what trainings run on", options=("auto", "cpu", "gpu"))
    devices: int = key(1, "GPUs of one training (accelerator=cpu: processes), which share each of its batches", least=1)
    num_nodes: int = key(
        1,
        "executor=ray: nodes of the cluster that one training has at once, each with so many devices; above 1, each "
        "needs /dev/net/tun and sandbox tier T3",
        least=1,
    )
    strategy: str = key(
        "auto",
        "how they share the work, by Lightning's names: ddp (each holds the whole network), fsdp (each holds a part of "
        "it; GPUs only); auto: ddp where there are several",
        options=("auto", "ddp", "fsdp"),
    )
    precision: str = key("auto", "Lightning's names; auto: bf16-mixed where a GPU computes with it, else 32-true")
    compile: str = key(
        "auto",
        "torch.compile: on where it is tried out before each training and more steps fit with it; auto: tried if the "
        "time limit is 10 minutes at least (never with executor.steps); on: always tried; off: never. It needs g++",
        options=("auto", "on", "off"),
    )
    memory_gib: float = key(8.0, "of all processes of one training together", least=1)
    disk_gib: float = key(4.0, "of what one training writes")
    output_mib: float = key(4.0, "of what one training prints; the rest is dropped")
    pretrained: bool = key(True, "whether a pipeline may use the pretrained weights that are at hand")
    weights: str | None = key(
        None, "folder with pretrained weights (NAME.pth, NAME.safetensors), beside what is installed"
    )
    fetch_weights: list[str] = key([], "timm's names; fetched from the hub unless at hand already")
    weights_on_demand: bool = key(
        True, "whether a language model may name any model of timm, whose weights are then fetched from the hub"
    )
    weights_limit_gib: float = key(2.0, "of all weights that one run fetches on demand", least=0)
    ray: RayConfig = field(default_factory=RayConfig)


@dataclass
class SandboxConfig:
    """how generated code is confined"""

    mode: str = key(
        "auto",
        "require: the strongest tiers or none; auto: the best that works; off: none, and scores are unverified",
        options=("require", "auto", "off"),
    )


@dataclass
class DisplayConfig:
    """what the terminal shows"""

    mode: str = key(
        "auto", "auto: a live view on a terminal, plain lines elsewhere", options=("auto", "rich", "plain", "none")
    )
    named: bool = key(False, "plain lines name their run, as where runs go side by side; no card at the end")


@dataclass
class TrackingConfig:
    """whether a run is also logged to Weights & Biases"""

    # By a process of its own that only reads the run's folder: it changes nothing in a run.
    mode: str = key("none", "wandb_offline keeps a folder to upload later", options=("none", "wandb", "wandb_offline"))
    project: str = key("improve", "of W&B")
    entity: str | None = key(None, "user or team of W&B; null: $WANDB_ENTITY, else the key's own")
    tags: list[str] = key([], "of the run in W&B")
    wait_seconds: float = key(
        10.0, "the longest that the end of a run waits for it; the upload then goes on by itself", least=0
    )
    sync_seconds: float = key(600.0, "time limit of the upload", least=1)


@dataclass
class BudgetConfig:
    """the most that a run may use, with its earlier sessions"""

    usd: float | None = key(
        None, "US dollars for the language model (null: no limit); refused where a model's price is not known"
    )
    tokens: int | None = key(None, "read and written by the language model; null: no limit")
    minutes: float | None = key(None, "wall time; null: no limit")
    gpu_minutes: float | None = key(None, "wall time of what runs on a GPU, times GPUs; null: no limit")
    trainings: int | None = key(
        None, "trainings, those of races and of what is delivered included; null: no limit", least=1
    )


@dataclass
class Config:
    """All keys. What has options of its own (a folder of conf/) is chosen by GROUP=NAME."""

    llm: LLMConfig = field(default_factory=LLMConfig)
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    strategy: StrategyConfig = field(default_factory=StrategyConfig)
    prompts: PromptsConfig = field(default_factory=PromptsConfig)
    acceptance: AcceptanceConfig = field(default_factory=AcceptanceConfig)
    finish: FinishConfig = field(default_factory=FinishConfig)
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    display: DisplayConfig = field(default_factory=DisplayConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    protocol: str = key(
        "honest",
        "paper: the test images also select, any increase counts, nothing is repaired",
        options=("honest", "paper"),
    )
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    dry_run: bool = key(False, "write the first prompt, estimate calls, tokens and money, and ask nobody")
    seed: int = key(0, "of the run: initial weights, batches, the model's sampling where it can be seeded")
    retry_failed: bool = key(False, "start again what ended without a score or cannot go on; the attempt is kept")
    study: str = key("", "the table or figure that this run is for; its runs share a folder below `outputs`")
    outputs: str = key("outputs", "folder of all runs")
    run_dir: str | None = key(None, "this run's folder; null: a stable name below `outputs`")
    cache_dir: str | None = key(None, "prepared images; null: $IMPROVE_CACHE, else ~/.cache/improve")
    # What `llm.roles` names, with all its settings: put here when the configuration is composed, not by people.
    role_llms: dict[str, LLMConfig] = field(default_factory=dict, metadata={"omegaconf_ignore": True})
