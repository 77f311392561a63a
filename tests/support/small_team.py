"""A team without trainings, that only talks: real prompts, client, journal and budget.

`python -m tests.support.small_team FOLDER URL CALLS` asks for so many summaries, as a run would.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from improve.agents.brief import Brief
from improve.agents.prompts import PromptSet
from improve.agents.team import Team
from improve.config.schema import BudgetConfig, LLMConfig
from improve.llm.backend import LiveModels
from improve.record.journal import Journal
from improve.spending.budget import Budget, Training

PRICED = {"usd_per_million_input": 2.0, "usd_per_million_output": 40.0}
MOST_WRITTEN = 200  # tokens of one reply


def small_team(
    folder: Path, base: str, limits: BudgetConfig, prices: dict[str, float] | None = None
) -> tuple[Team, Journal, Budget]:
    """The journal is the caller's to close. The budget takes the run for one that has a scored pipeline."""
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder)
    budget = Budget(limits, journal, Training(0.0, 0, 1.0), time.monotonic())
    journal.once("verdict-0", "verdict", lambda: {"iteration": 0, "incumbent": 0})
    llm = LLMConfig("local", "openai/scripted", base, max_output_tokens=MOST_WRITTEN, **(prices or {}))
    backend, brief = LiveModels(llm, {}, 0), Brief("card", "context")
    team = Team(backend, PromptSet("improve"), journal, folder, brief, lambda *_: None, budget)
    return team, journal, budget


if __name__ == "__main__":
    team, journal, _ = small_team(Path(sys.argv[1]), sys.argv[2], BudgetConfig())
    for number in range(int(sys.argv[3])):
        team.summary(number, f"step: {number}", "")
    journal.close()
