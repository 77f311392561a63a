"""The display for terminals: one small panel that stays in place, with finished iterations scrolling above it."""

from __future__ import annotations

import threading
from typing import TextIO

from rich import box
from rich.console import Console, Group, OverflowMethod, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from improve.display.progress import Phase, Progress
from improve.display.sentences import (
    best_so_far,
    cost,
    data_findings,
    ensemble_tested,
    outcome,
    refit_tested,
    short_headline,
    tested,
    warnings,
)
from improve.display.terminal import Writer
from improve.display.text import count, duration, one_line
from improve.domain import Verdict
from improve.record.history import History
from improve.record.journal import Record

COMPONENT_STYLES = {"data": "cyan", "model": "magenta", "training": "yellow"}
VERDICT_STYLES = {
    Verdict.ACCEPTED: "bold green",
    Verdict.KEPT: "green",
    Verdict.SURPASSED: "blue",
    Verdict.REJECTED: "red",
    Verdict.WITHIN_NOISE: "dim",
    Verdict.FAILED: "bold red",
}
WIDTH = 100  # the panel grows no wider, however wide the terminal


class RichDisplay:
    """A live panel on a terminal; where the stream is no terminal, rich leaves the panel out and keeps the lines."""

    def __init__(self, stream: TextIO, console: Console | None = None) -> None:
        self._writer = Writer(stream)
        self._console = console or Console(file=stream, highlight=False, markup=False, emoji=False)
        self._lock = threading.RLock()
        self._progress = Progress()
        self._untold: int | None = None  # an iteration that has a verdict and waits for its summary
        self._overflow: OverflowMethod = "ellipsis" if self._writer.unicode else "crop"
        self._spinner = Spinner("dots" if self._writer.unicode else "line", style="cyan")
        self._live = Live(get_renderable=self.panel, console=self._console, refresh_per_second=5, transient=True)
        self._closed = False
        self._live.start()

    def record(self, record: Record) -> None:
        with self._lock:
            self._progress.add(record)
            history = self._progress.history
            if history is None:
                return
            if self._untold is not None and record.kind not in ("llm", "summary"):
                self._tell(history)
            if record.kind == "run":
                self._opening(history)
            elif record.kind == "audit_data":
                for text in data_findings(history):
                    self._say(f"images: {text}", "yellow")
            elif record.kind == "verdict":
                self._untold = record.data["iteration"]
            elif record.kind == "summary":
                self._tell(history)
            elif record.kind == "test":
                test = history.first_test if record.data["which"] == "first" else history.best_test
                self._say(tested(history, test) if test else "", "bold")
            elif record.kind in ("server", "llm", "weights") and record.data.get("said"):
                self._say(one_line(record.data["said"]), "yellow")
            elif record.kind == "ensemble":
                self._say(f"test, ensemble: {ensemble_tested(history)}", "bold")
            elif record.kind == "refit_test":
                self._say(f"test, refit: {refit_tested(history)}", "bold")
            elif record.kind == "finished":
                self._progress.phase = Phase()

    def phase(self, iteration: int, stage: str, detail: str = "") -> None:
        self._progress.phase = Phase(iteration, stage, detail)

    def note(self, text: str) -> None:
        with self._lock:
            self._say(one_line(text))

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._progress.history and self._untold is not None:
                self._tell(self._progress.history)
        # Not under the lock: the refreshing thread may be waiting for it, and `stop` waits for that thread.
        self._live.stop()

    def panel(self) -> RenderableType:
        """The panel as of now; called by rich, some times a second."""
        progress = self._progress
        history = progress.history
        if history is None:
            return self._text(progress.phase.text or "starting")
        width = min(WIDTH, self._console.width)
        title = self._text(f" {short_headline(history)} ", "bold", wrap=True)
        rows: list[RenderableType] = [self._bar(history), self._marks(history)]
        if title.cell_len > width - 4:  # rich would cut it: names are shown whole
            rows.insert(0, self._text(short_headline(history), "bold", wrap=True))
            title = Text()
        if progress.phase.text:
            since = f" · {duration(progress.in_phase)}" if progress.in_phase >= 1 else ""
            beside = progress.beside
            going_on = f"{count(len(beside), 'training')} side by side" if beside else self._role(progress.phase)
            self._spinner.update(text=self._text(going_on + since, wrap=True))
            rows.append(self._spinner)
            rows += [
                self._text(f"  {history.numbering.short(phase.iteration)} {phase.text}", wrap=True) for phase in beside
            ]
        rows.append(self._text("best so far: ", "dim", wrap=True) + self._text(best_so_far(history), "bold", wrap=True))
        left = "" if progress.left is None else f" · about {duration(progress.left)} left"
        rows.append(self._text(f"{cost(history)} · {duration(progress.elapsed)} elapsed{left}", "dim", wrap=True))
        return Panel(
            Group(*rows),
            title=title,
            title_align="left",
            border_style="blue",
            box=box.ROUNDED,
            width=width,
        )

    def _bar(self, history: History) -> RenderableType:
        done = sum(iteration.verdict is not None for iteration in history.iterations)
        at = history.numbering.iteration(history.iterations[-1].number if history.iterations else 0)
        where = f"iteration {at} of {history.planned}" if at else "first pipeline"
        grid = Table.grid(padding=(0, 1))
        grid.add_row(
            self._text(where, "bold"),
            ProgressBar(history.planned_candidates + 1, done, width=24, complete_style="cyan", finished_style="green"),
        )
        return grid

    def _marks(self, history: History) -> Text:
        """A mark for each iteration so far, in the colour of its component, then what the colours mean."""
        marks = Text(no_wrap=True, overflow=self._overflow)
        for iteration in history.iterations:
            if iteration.outcome:
                style = COMPONENT_STYLES.get(iteration.component, "white")
                marks.append(self._writer.mark(iteration.outcome) + " ", f"bold {style}")
        waiting = history.planned_candidates + 1 - len(marks) // 2
        marks.append(self._writer.fit("· ") * max(0, min(waiting, 60)), "dim")
        marks.append("  ")
        for component, style in COMPONENT_STYLES.items():
            marks.append(f"{component} ", style)
        return marks

    def _role(self, phase: Phase) -> str:
        history = self._progress.history
        repairs = 0
        if history and (iteration := history.iteration(phase.iteration)) and not iteration.verdict:
            repairs = sum(check["failure"] is not None for check in iteration.checks)
        return f"{phase.text} (repair {repairs})" if repairs and phase.stage.endswith("engineer") else phase.text

    def _opening(self, history: History) -> None:
        run = history.run
        self._say(f"sandbox: {run['tier']}, {one_line(run['tier_description'])}", "dim")
        for note in run["notes"]:
            self._say(f"note: {one_line(note)}", "yellow")
        for text in warnings(history):
            self._say(text, "bold white on red")

    def _tell(self, history: History) -> None:
        iteration = history.iteration(self._untold)
        self._untold = None
        if iteration is None or iteration.outcome is None:
            return
        told = outcome(iteration)
        line = Table.grid(padding=(0, 1, 0, 0))
        for width in (3, 8, 1):
            line.add_column(no_wrap=True, min_width=width)
        line.add_column(overflow="fold")  # on a narrow terminal in several lines: nothing of it is left out
        verdict = VERDICT_STYLES[told.verdict]
        line.add_row(
            Text(f"{history.numbering.short(told.number):>3}", "dim"),
            Text(self._writer.fit(told.label), COMPONENT_STYLES.get(told.label, "white")),
            Text(self._writer.mark(told.verdict), verdict),
            Text.assemble(
                (self._writer.fit(told.change or told.said), verdict), "  ", (self._writer.fit(told.reason), "dim")
            ),
        )
        self._console.print(line)

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(self._text(text, style, wrap=True))

    def _text(self, text: str, style: str = "", *, wrap: bool = False) -> Text:
        """Text that is never read as markup."""
        return Text(self._writer.fit(text), style, no_wrap=not wrap, overflow="fold" if wrap else self._overflow)
