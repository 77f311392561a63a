"""Writes the page of a run: one file that opens offline, in any browser, and runs no code but its own.

All text that a language model or generated code wrote is cleaned of control characters and escaped, whatever
template it passes through. As a second line of defence, the page forbids itself everything but its own script
and style (by their hashes) and images that it carries.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from improve.display.card import PAGE
from improve.display.text import (
    clean,
    count,
    duration,
    interval,
    money,
    p_value,
    percent,
    points,
    short_count,
    time_taken,
    trained,
)
from improve.errors import ImproveError
from improve.record.history import History
from improve.report.code import coloured
from improve.report.escapes import markdown, tex
from improve.report.files import RunFiles
from improve.report.view import run_view


def write_run_page(run_folder: Path) -> Path:
    """Write `run.html` into the run's folder and return its path. Raises `ResumeError` if the folder holds no run."""
    page = run_folder / PAGE
    write_text(page, run_page(History.read(run_folder), run_folder))
    return page


def write_text(path: Path, text: str) -> None:
    """Write a file whole, or leave the one that is there. Raises `ImproveError` where it cannot be written."""
    written = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(text, encoding="utf-8")
        os.replace(written, path)
    except OSError as error:
        raise ImproveError(f"{path} cannot be written: {error.strerror}.", "choose another folder") from None


@dataclass(frozen=True)
class Live:
    """What a page has beside its content where it is served: a mark of its version; of a run its state and name, and

    whether it goes on just now.
    """

    tag: str
    state: str = ""
    name: str = ""
    running: bool = False


def run_page(history: History, run_folder: Path, live: Live | None = None) -> str:
    """The page of a run as HTML; `live`: as `improve view` serves it."""
    return render("run.html.j2", live, **run_view(history, RunFiles(run_folder), live is not None and live.running))


def render(template: str, live: Live | None = None, **values: Any) -> str:
    """Render a template: `values` may hold foreign text anywhere. Templates of other formats than HTML escape it."""
    environment = _environment(template.endswith(".html.j2"))
    if not environment.autoescape:
        return environment.get_template(template).render(**values)
    style, script = _source(environment, "style.css"), _source(environment, "page.js")
    if live:
        script += _source(environment, "live.js")
    allowed = f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}"
    again = "connect-src 'self'; " if live else ""
    policy = f"{allowed}; {again}base-uri 'none'; form-action 'none'"
    # Our own files are the only text that goes in unescaped.
    own = {"style": Markup(style), "script": Markup(script), "policy": Markup(policy), "live": live}
    return environment.get_template(template).render(**own, **values)


@functools.cache
def _environment(autoescape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("improve.report", "templates"),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        finalize=_cleaned,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    formats = (count, duration, interval, money, p_value, percent, points, short_count, time_taken, trained)
    environment.filters.update({function.__name__: function for function in (*formats, coloured, markdown, tex)})
    return environment


def _cleaned(value: Any) -> Any:
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _source(environment: jinja2.Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
