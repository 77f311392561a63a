"""The report on a study, from its runs' journals alone: tables beside the paper's figures, tests, figures, a page."""

from improve.report.study.leaderboard import leaderboards
from improve.report.study.write import Options, write_study

__all__ = ["Options", "leaderboards", "write_study"]
