"""A report over runs in W&B, as code: `improve report --wandb PATH…`. The runs must have been uploaded before.

Its words and tables come from the journals alone; its plots are W&B's own, of what was uploaded. Without a server it
can be built, but not saved.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from improve.config.invocation import install_extra
from improve.display.text import clean, interval, money, percent
from improve.domain import Verdict
from improve.errors import ConfigError, ImproveError
from improve.record.history import History
from improve.record.kinds import TestRecord
from improve.record.runs import run_folders
from improve.tracking import content
from improve.tracking.tracker import KEY
from improve.tracking.upload import out_of_reach

HEAD = ("run", "strategy", "LLM", "first (95%)", "best (95%)", "accepted", "tokens", "cost", "marks")
SECONDS = 20  # for an answer of the server
LINES = (
    ("Best so far on the selection images", "iteration", "selection/best"),
    ("Each candidate on the selection images", "iteration", "selection/accuracy"),
    ("Best so far by tokens", "tokens/total", "selection/best"),
    ("Best so far by money (USD)", "usd/total", "selection/best"),
    ("Best so far by time (s)", "seconds/total", "selection/best"),
)


def save_report(paths: Iterable[Path], project: str, entity: str | None) -> str:
    """Build the report over the runs at or below the paths and save it in W&B; gives its address.

    Raises `ImproveError` for what is missing: the packages, a run, the server, the right to write there.
    """
    check_packages()
    histories = [History.read(folder) for folder in run_folders(paths)]
    import requests
    import wandb

    url = str(wandb.setup().settings.base_url)
    failure = out_of_reach(url)
    if failure:
        raise ImproveError(f"the report cannot be saved: {failure}.", "set WANDB_BASE_URL, or try again later")
    try:
        api = wandb.Api(timeout=SECONDS)  # refuses at once without a key
        owner = entity or str(api.default_entity)
        report = build(histories, project, owner)
        report.save()
    except (wandb.Error, requests.RequestException, ValueError) as error:
        said = clean(str(error)).replace(os.environ.get(KEY) or "\0", "[key]")
        raise ImproveError(
            f"W&B did not take the report: {said}", f"export {KEY}, or `wandb login`; entity and project must exist"
        ) from None
    return str(report.url)


def check_packages() -> None:
    """Raises `ConfigError` if a package for it is missing."""
    for name in ("wandb", "wandb_workspaces"):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ConfigError(f"improve report --wandb needs {name}, which is not installed.", install_extra("wandb"))


def build(histories: Sequence[History], project: str, entity: str) -> Any:
    """The report, not yet saved: for each group of runs a table of results and the plots of their courses."""
    # Its types name nothing that it exports, so they are of no help here.
    reports: Any = importlib.import_module("wandb_workspaces.reports.v2")
    expr: Any = importlib.import_module("wandb_workspaces.expr")
    blocks: list[Any] = [reports.TableOfContents()]
    groups: dict[str, list[History]] = {}
    for history in histories:
        groups.setdefault(content.group(history), []).append(history)
    for name, runs in groups.items():
        panels = [reports.LinePlot(title=title, x=x, y=[y]) for title, x, y in LINES]
        panels.append(reports.BarPlot(title="Test accuracy of the best pipeline", metrics=["test/best/accuracy"]))
        shown = expr.Metric("Group") == name
        chosen = reports.Runset(entity=entity, project=project, name=name, filters=[shown])
        blocks += [
            reports.H1(text=name),
            reports.MarkdownBlock(text=table(runs)),
            reports.PanelGrid(runsets=[chosen], panels=panels),
        ]
    title = f"{', '.join(groups)} (improve)"
    said = "Test scores, intervals and costs are those of the runs' journals."
    return reports.Report(project=project, entity=entity, title=title[:128], description=said, blocks=blocks)


def table(histories: Iterable[History]) -> str:
    """The results as a Markdown table; what must be said of a score stands in its row."""
    lines = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    for history in histories:
        llm = str(history.run["config"].get("llm", {}).get("name", "?"))
        cells = (
            history.run["name"],
            content.job_type(history),
            llm,
            _tested(history.first_test),
            _tested(history.best_test),
            f"{history.count(Verdict.ACCEPTED)} of {len(history.judged)}",
            f"{history.costs.total_tokens:,}",
            money(history.usd, history.rule_based),
            "; ".join(content.marks(history)) or "none",
        )
        lines.append(f"| {' | '.join(clean(cell).replace('|', '/') for cell in cells)} |")
    return "\n".join(lines)


def _tested(test: TestRecord | None) -> str:
    if test is None:
        return "not yet"
    if test["failure"]:
        return "no score"
    return f"{percent(test['accuracy'])} ({interval(test['low'], test['high'])})"
