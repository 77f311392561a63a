"""Writes the report on a study: table.md, table.csv, table.tex, study.html and figures/."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from improve.report.files import data_uri
from improve.report.page import Live, render, write_text
from improve.report.study.cells import Table
from improve.report.study.formats import table_csv
from improve.report.study.layout import study_tables
from improve.report.study.leaderboard import Leaderboard, check_datasets
from improve.report.study.runs import StudyRun, load_runs
from improve.report.study.view import FigureView, relative_link, report_view, table_view

STUDY_PAGE = "study.html"


@dataclass(frozen=True)
class Options:
    """`leaderboards`: by dataset. `omit_failed`: whether figures by iteration leave out iterations without a score."""

    leaderboards: dict[str, Leaderboard] = field(default_factory=dict)
    omit_failed: bool = True


def write_study(paths: Sequence[Path], out: Path, options: Options | None = None) -> Path:
    """Write the report on the runs at or below the paths into the folder `out`; the path of its page.

    Raises `DataError` if there is no run, `ConfigError` for a leaderboard of a dataset that no run used,
    `ImproveError` if a file cannot be written.
    """
    options = options or Options()
    runs, left_out = load_runs(paths)
    check_datasets(options.leaderboards, sorted({run.settings["dataset.name"] for run in runs}))
    tables = study_tables(runs)
    views = [_view(number, table, out, options, len(tables) > 1) for number, table in enumerate(tables, start=1)]
    figures = [figure for view in views for figure in view["figures"]]
    _drop_old_figures(figures, out)
    shown = report_view(views, left_out)
    write_text(out / "table.md", render("study.md.j2", **shown))
    write_text(out / "table.csv", table_csv(tables))
    write_text(out / "table.tex", render("study.tex.j2", **shown))
    page = out / STUDY_PAGE
    write_text(page, render("study.html.j2", **shown, pictures=_pictures(figures, out)))
    return page


def study_page(runs: Sequence[StudyRun], link: Callable[[StudyRun], str], live: Live) -> str:
    """The page of a study while it goes on: its tables without figures, which take long."""
    views = [table_view(number, table, {}, (), link) for number, table in enumerate(study_tables(runs), start=1)]
    return render("study.html.j2", live, **report_view(views, []), pictures={})


def _view(number: int, table: Table, out: Path, options: Options, several: bool) -> dict[str, Any]:
    from improve.report.study.figures import draw_figures  # matplotlib

    prefix = f"{table.name or 'runs'} " if several else ""
    figures = draw_figures(table, out, prefix, omit_failed=options.omit_failed)
    return table_view(number, table, options.leaderboards, figures, lambda run: relative_link(run, out))


def _drop_old_figures(figures: Sequence[FigureView], out: Path) -> None:
    """Figures of rows and columns that an earlier report had, and this one has not, would be taken for its own."""
    from improve.report import plotting
    from improve.report.study.figures import CREATOR, FOLDER

    plotting.drop(out / FOLDER, CREATOR, {figure.name for figure in figures})


def _pictures(figures: Sequence[FigureView], out: Path) -> dict[str, str]:
    """The figures as data URIs, by their names: an image runs no script and loads nothing."""
    return {
        figure.name: data_uri("image/svg+xml", (out / figure.folder / f"{figure.name}.svg").read_bytes())
        for figure in figures
    }
