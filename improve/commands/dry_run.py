"""`dry_run=true`: the first prompt as a file, and what the run would ask of its models; nobody is asked, no key needed.

It leaves the run's own folder alone, so that the same command without `dry_run` starts as if nothing had been.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from improve.agents.team import RE_ASKS
from improve.commands.prompts import Preview, examples, shown
from improve.commands.typical import habits
from improve.config.compose import config_from
from improve.config.llm_names import asked_model
from improve.config.places import cache_folder
from improve.config.schema import Config, DatasetConfig, LLMConfig
from improve.datasets import at_hand
from improve.display.text import count, money, short_count, time_taken
from improve.execution import machine
from improve.record.folders import folder_of
from improve.session.opening import check_constraints
from improve.spending.estimate import Estimate, Line, asked_models, estimate
from improve.spending.worst_case import known_price

BASIS = (
    "An estimate. Lowest: no re-asks, no repairs, prompts and replies of the size that the rule-based expert's have; a",
    "model that reasons writes more. Most: every re-ask, every repair, every reply up to llm.max_output_tokens.",
)


@dataclass(frozen=True)
class DryRun:
    """What is known of a run before it starts. `prompt` is the file of the architect's first prompt."""

    name: str
    config: Config
    estimate: Estimate
    prompt: Path
    basis: str  # where the typical case comes from


def dry_run(config: Config, preview: Preview | None = None) -> DryRun:
    """Write the first prompt beside where the run would go, and estimate the run. Raises `ImproveError`."""
    check_constraints(config)
    preview = preview or Preview.of(dataclasses.replace(config, dataset=visible(config)))
    folder = folder_of(config)
    prompt = folder.parent / "dry_run" / folder.name / "architect.md"
    known = habits(Path(config.outputs).expanduser(), asked_model(config.llm))
    estimated = estimate(config, examples(preview), RE_ASKS, known.usual)
    prompt.parent.mkdir(parents=True, exist_ok=True)
    prompt.write_text(shown("architect", preview.prompts, preview.prompt("architect")), encoding="utf-8")
    return DryRun(folder.name, config, estimated, prompt, known.basis)


def visible(config: Config) -> DatasetConfig:
    """The run's images, or a small stand-in where they would have to be downloaded first."""
    if at_hand(config.dataset, cache_folder(config.cache_dir)):
        return config.dataset
    _say_once(
        f"The images of dataset={config.dataset.name} are not at hand: its prompts are as long as those of digits."
    )
    digits = config_from(["dataset=digits"]).dataset
    own = config.dataset
    return dataclasses.replace(digits, description=own.description, card=own.card, constraints=own.constraints)


@functools.cache
def _say_once(text: str) -> None:
    print(text, file=sys.stderr)


def print_dry_run(dry: DryRun, console: Console | None = None) -> None:
    """The whole estimate of one run, as a table."""
    console = console or Console(highlight=False, markup=False, emoji=False)
    table = Table(box=box.SIMPLE_HEAD, show_footer=False, pad_edge=False, collapse_padding=True)
    for name in ("role", "calls", "read", "written", "money"):
        table.add_column(name, justify="left" if name == "role" else "right", no_wrap=True)
    for line in dry.estimate.lines:
        table.add_row(line.who, *_cells(dry.config, line))
    table.add_section()
    table.add_row("all", *_cells(dry.config, dry.estimate.total))
    console.print(f"dry run of {dry.name}: nobody was asked", soft_wrap=True)
    console.print(table)
    for text in (*_facts(dry), *BASIS, *([dry.basis] if asked_models(dry.config) else [])):
        console.print(text, soft_wrap=True)


def print_line(dry: DryRun) -> None:
    """One run of a sweep."""
    print(f"dry run of {dry.name}: {_sentence(dry.estimate.total, not asked_models(dry.config))}")


def print_sum(runs: Sequence[DryRun]) -> None:
    """All runs of a sweep."""
    totals = [run.estimate.total for run in runs]
    free = not any(asked_models(run.config) for run in runs)
    print(f"all {count(len(runs), 'run')} together: {_sentence(Line.sum(totals), free)}")
    priced = [total for total in totals if total.high.usd is not None]
    if len(priced) < len(totals):
        known = f"; the other {len(priced)} cost {_paid(Line.sum(priced), free=False)}" if priced else ""
        print(f"the price of {count(len(totals) - len(priced), 'run')} is not known{known}")
    print("\n".join((*BASIS, *dict.fromkeys(run.basis for run in runs if asked_models(run.config)))))


def _cells(config: Config, line: Line) -> list[str]:
    low, high = line.low, line.high
    return [
        _span(f"{low.calls:,}", f"{high.calls:,}"),
        _span(short_count(low.read), short_count(high.read)),
        _span(short_count(low.written), short_count(high.written)),
        _paid(line, not asked_models(config)),
    ]


def _sentence(total: Line, free: bool) -> str:
    low, high = total.low, total.high
    tokens = _span(short_count(low.read + low.written), short_count(high.read + high.written))
    typical = "" if free else f"typically {_typical(total)}, "
    return f"{_span(f'{low.calls:,}', f'{high.calls:,}')} calls, {tokens} tokens, {typical}{_paid(total, free)}"


def _typical(line: Line) -> str:
    usual = line.typical
    return f"{short_count(usual.read + usual.written)} tokens" if usual.usd is None else money(usual.usd, False)


def _paid_typically(usd: float | None) -> str:
    return "at an unknown price" if usd is None else money(usd, False)


def _paid(line: Line, free: bool) -> str:
    if free:
        return "0 USD"
    if line.low.usd is None or line.high.usd is None:
        return "price unknown"
    return _span(money(line.low.usd, False).removesuffix(" USD"), money(line.high.usd, False))


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _facts(dry: DryRun) -> list[str]:
    """What the table does not say."""
    models, limit = asked_models(dry.config), dry.config.budget.usd
    said = [_rate(llm) for llm in models] or [f"llm={dry.config.llm.name} asks no language model."]
    most = dry.estimate.total.high.usd
    if limit is not None and most is not None and most > limit:
        said.append(f"budget.usd={limit} may end the run before its last iteration.")
    slots = machine.slots(dry.config.executor, dry.config.strategy.candidates)
    beside = f", {slots} at a time" if slots > 1 else ""
    said.append(
        f"At most {count(dry.estimate.trainings, 'training')} of up to {time_taken(dry.estimate.fit_seconds)} "
        f"each{beside}."
    )
    if models:
        usual = dry.estimate.total.typical
        tokens = f"{usual.calls:,} calls and {short_count(usual.read + usual.written)} tokens"
        said.append(f"Typically {tokens}, {_paid_typically(usual.usd)}.")
    return [*said, f"The architect's first prompt: {dry.prompt}"]


def _rate(llm: LLMConfig) -> str:
    price = known_price(llm)
    if price is None:
        keys = "llm.usd_per_million_input and llm.usd_per_million_output"
        return f"The price of {asked_model(llm)} is not known; give {keys}."
    read, written = (f"{1e6 * usd:g} USD" for usd in (price.input, price.output))
    return f"{asked_model(llm)}: {read} for a million tokens read and {written} for as many written."
