"""The tables of a study as Markdown, CSV and LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

from improve.display.text import clean
from improve.report.study.cells import Cell, Table
from improve.report.study.view import RUN_HEADER, StudyView, TableView

CSV_HEADER = (
    "study", "table", "dataset", "llm", "row_settings", "column", "column_settings", "runs", "n", "mean", "std",
    "failed", "unfinished", "first_mean", "tokens_mean", "usd_mean", "minutes_mean", "tokens_all", "usd_all",
    "minutes_all", "rule_based", "protocol", "verified", "paper_mean", "paper_std", "difference",
)  # fmt: skip

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "±": r"$\pm$", "−": r"$-$", "–": "--", "—": "---",
    "†": r"$^\dagger$", "‡": r"$^\ddagger$", "↺": r"$^\circ$", "°": r"$^\circ$", "×": r"$\times$", "·": r"$\cdot$",
    "“": "``", "”": "''", "’": "'", "…": r"\ldots{}",
}  # fmt: skip
COLUMNS = 5  # that an article's page is wide enough for in its usual sizes
_ACCENTED = "àáâãäåæçèéêëìíîïñòóôõöøœùúûüýÿß"  # what LaTeX's oldest fonts can set


def markdown(view: StudyView) -> str:
    """All tables, with what must be said beside them."""
    parts = [f"# {view.headline}"] if len(view.tables) > 1 else []
    parts += [_markdown_table(table, "#" if len(view.tables) == 1 else "##") for table in view.tables]
    parts += [f"- {text}" for text in view.left_out]
    return "\n\n".join(parts) + "\n"


def _markdown_table(table: TableView, level: str) -> str:
    header = ("Dataset", "Language model", *table.columns, *(f"{name} (printed)" for name in table.also))
    rows = [
        (*row.labels, *(cell.line for cell in row.cells), *_padded(row.also, len(table.also))) for row in table.rows
    ]
    parts = [f"{level} {_escaped(table.headline)}", *(f"**{_escaped(text)}**" for text in table.warnings)]
    parts += [_escaped(text) for text in table.story]
    parts += [_grid(header, rows, range(2, len(header)))]
    parts += ["\n".join(f"- {_escaped(text)}" for text in (*table.legend, *table.notes, *table.endings))]
    for grid in table.grids:
        parts += [f"{level}# {grid.title}", *(_escaped(text) for text in grid.words)]
        parts += [_grid(grid.header, grid.rows, grid.numbers)]
    lines = [(run.name, run.where, str(run.seed), run.state, *run.values) for run in table.runs]
    parts += [f"![{_escaped(one.caption)}]({one.folder}/{one.name}.svg)" for one in table.figures]
    return "\n\n".join([*parts, f"{level}# Runs", _grid(RUN_HEADER, lines, range(4, len(RUN_HEADER)))])


def _padded(values: Sequence[str], length: int) -> tuple[str, ...]:
    return (*values, *("" for _ in range(length - len(values))))


def _grid(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> str:
    rule = ["---:" if place in numbers else "---" for place in range(len(header))]
    lines = [[_escaped(cell) for cell in row] for row in (header, *rows)]
    lines.insert(1, rule)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(clean(text).split()))


def table_csv(tables: Sequence[Table]) -> str:
    """A line for each cell, accuracies as fractions; what is not known, or does not exist, is empty."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for table in tables:
        writer.writerows(_csv_line(table, cell) for cell in table.all())
    return file.getvalue()


def _csv_line(table: Table, cell: Cell) -> list[object]:
    row, column, printed = cell.row, cell.column, cell.printed
    known = [run.usd for run in cell.runs if run.usd is not None]
    return [
        table.study, table.paper.name if table.paper else "", row.dataset, row.llm, _joined(row.more),
        column.method.name, _joined(column.more), len(cell.runs),
        cell.n, cell.mean, cell.std, cell.count("failed"), cell.count("unfinished"), cell.first, cell.tokens, cell.usd,
        cell.minutes, sum(run.tokens for run in cell.runs), sum(known) if len(known) == len(cell.runs) else None,
        sum(run.minutes for run in cell.runs), row.rule_based, _protocol(cell), _verified(cell),
        printed.mean if printed else None, printed.std if printed else None, cell.difference,
    ]  # fmt: skip


def _joined(settings: Sequence[tuple[str, str]]) -> str:
    return " ".join(f"{key}={value}" for key, value in settings)


def _protocol(cell: Cell) -> str:
    if not cell.runs:
        return ""
    return "paper" if cell.paper_protocol else "honest"


def _verified(cell: Cell) -> str:
    return str(not cell.unverified) if cell.runs else ""


def latex(view: StudyView) -> str:
    """A `table` environment for each study, for \\input in an article that loads booktabs."""
    parts = ["% Made by improve from the journals of the runs alone. In the preamble: \\usepackage{booktabs}"]
    parts += [_latex_table(table) for table in view.tables]
    return "\n\n".join(parts) + "\n"


def _latex_table(view: TableView) -> str:
    header = ("Dataset", "Language model", *view.columns, *(", ".join(name.split()) for name in view.also))
    lines = [" & ".join(_stacked(text) for text in header) + r" \\", r"\midrule"]
    for row in view.rows:
        cells = [tex(cell.value + cell.marks) if cell.value else "---" for cell in row.cells]
        lines.append(" & ".join([*map(tex, row.labels), *cells, *map(tex, _padded(row.also, len(view.also)))]) + r" \\")
        below = (
            [cell.runs if cell.value else "" for cell in row.cells],
            [cell.printed for cell in row.cells],
            [cell.difference for cell in row.cells],
        )
        for under in below:
            if any(under):
                small = [rf"{{\scriptsize {tex(text)}}}" if text else "" for text in under]
                lines.append(" & ".join(["", "", *small, *("" for _ in view.also)]) + r" \\")
    explained = (
        "Below each cell: its runs, then what the paper prints and the difference from it."
        if any(cell.printed for row in view.rows for cell in row.cells)
        else ""
    )
    caption = [f"{view.headline}.", *view.warnings, *view.legend, explained, *view.notes]
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{' '.join(tex(text) for text in caption if text)}}}",
            r"\footnotesize" if len(header) <= COLUMNS else r"\scriptsize",
            rf"\setlength{{\tabcolsep}}{{{4 if len(header) <= COLUMNS else 2}pt}}",
            rf"\begin{{tabular}}{{p{{2cm}}p{{2cm}}{'r' * (len(header) - 2)}}}",
            r"\toprule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _stacked(text: str) -> str:
    """A column's name, the settings in it below each other."""
    parts = [tex(part) for part in text.split(", ")]
    return parts[0] if len(parts) == 1 else r"\shortstack[r]{" + r" \\ ".join(parts) + "}"


def tex(text: str) -> str:
    """Text as LaTeX sets it with its usual fonts; characters that they lack are named by their number."""
    line = " ".join(clean(text).split())
    return "".join(_LATEX.get(one, one if _settable(one) else f"[U+{ord(one):04X}]") for one in line)


def _settable(character: str) -> bool:
    return character.isascii() or character.lower() in _ACCENTED
