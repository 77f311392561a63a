"""Python in colour: the tokens of a source as spans that a page's style gives colours to."""

import functools

from markupsafe import Markup, escape
from pygments import lex
from pygments.lexers.python import PythonLexer
from pygments.token import Comment, Keyword, Name, Number, Operator, String

LIMIT = 60_000  # characters of a source, and of a line below: longer ones stay plain, as they would take too long
LONGEST_LINE = 1_000
KINDS = (
    (Comment, "c"),
    (String, "s"),
    (Number, "n"),
    (Keyword, "k"),
    (Operator.Word, "k"),
    (Name.Function, "f"),
    (Name.Class, "f"),
    (Name.Decorator, "d"),
)


@functools.lru_cache(maxsize=512)
def coloured_lines(source: str) -> tuple[Markup, ...]:
    """The lines of a source (cleaned: see `clean`) as HTML, each whole in itself; all text in it is escaped."""
    lines = source.split("\n")
    if len(source) > LIMIT or max(map(len, lines)) > LONGEST_LINE:
        return tuple(map(escape, lines))
    made, line = [], Markup()
    for kind, text in lex(source, PythonLexer(stripnl=False, ensurenl=False)):
        first, *more = text.split("\n")
        line += _span(kind, first)
        for part in more:
            made.append(line)
            line = _span(kind, part)
    return (*made, line)


def coloured(source: str) -> Markup:
    """A whole source as HTML."""
    return Markup("\n").join(coloured_lines(source))


def _span(kind: tuple[str, ...], text: str) -> Markup:
    name = next((name for above, name in KINDS if kind in above), "")
    return Markup('<span class="{}">{}</span>').format(name, text) if name and text.strip() else escape(text)
