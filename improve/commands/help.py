"""`--help` on one screen: what the program does, commands to start from, what can be chosen, and where the rest is."""

from __future__ import annotations

from improve.config.invocation import COMMANDS, command, run_command
from improve.config.keys import groups
from improve.config.schema import Config

WIDTH = 80  # columns of the smallest terminal
GAP = "  "


def help_text() -> str:
    """At most 24 lines. Its commands are those that work where it was asked for."""
    starts = {
        run_command(): "the built-in task: no key, no GPU",
        run_command("dataset=folder", "dataset.path=PHOTOS"): "a folder for each class",
        run_command("llm=gpt-4o", "dry_run=true"): "what that asks and costs",
        command("predict", "RUN", "IMAGES"): "classes of new images",
        command("doctor"): "what works on this machine",
    }
    chosen = {
        **groups(Config),
        "protocol": "honest, or paper: its rules, which flatter the score",
        "experiment": "a ready study: smoke, table1 … table6, figure2, baselines",
    }
    return "\n".join(
        (
            "A language model designs an image classifier and refines it, part by part.",
            "",
            *_table(starts),
            "GROUP=NAME chooses, GROUP.KEY=VALUE sets; -m seed=0,1,2 makes several runs:",
            *_table(chosen),
            f"Every key, its type and its default: {command('keys')} [GROUP]",
            f"Commands: {command()} NAME --help, NAME one of",
            GAP + " ".join(COMMANDS),
        )
    )


def _table(rows: dict[str, str]) -> list[str]:
    """Two columns; a second one that does not fit is left out, so that what can be pasted stays whole."""
    fitting = [len(first) for first, second in rows.items() if len(GAP + first + GAP + second) <= WIDTH]
    width = max(fitting, default=0)
    lines = (f"{GAP}{first:<{width}}{GAP}{second}" for first, second in rows.items())
    return [line if len(line) <= WIDTH else GAP + first for line, first in zip(lines, rows, strict=True)]
