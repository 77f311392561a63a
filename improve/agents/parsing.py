"""Reading replies: fenced code, files named in code blocks, JSON. Half a block is never returned.

A reply that cannot be read raises `UnusableReply`, whose message is sent back to the role.
"""

from __future__ import annotations

import json
import re
from typing import Literal, TypeVar

import pydantic

from improve.domain import COMPONENTS, Component, Pipeline

# A code block: its fence, an optional language, its text, and the same fence alone on a line.
BLOCK = re.compile(r"^[ ]{0,3}(`{3,}|~{3,})([^\n`]*)\n(.*?)^[ ]{0,3}\1[ \t]*$", re.DOTALL | re.MULTILINE)
THINKING = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
FILE_NAME = re.compile(r"^#\s*(?:present\s+)?(data|model|training)\.py\b")
# The name of a file alone on a line, between the files of one block.
HEADING = re.compile(r"^#\s*(data|model|training)\.py[ \t]*$", re.MULTILINE)
MENTIONED = re.compile(r"\b(data|model|training)\.py\b")
PYTHON_TAGS = ("", "python", "py", "python3")
MAX_REPLY = 200_000  # characters


class UnusableReply(Exception):
    """What is wrong with a reply, in words for the role that wrote it."""


class Proposal(pydantic.BaseModel):
    """The analyst's answer: one component and what its engineer should change."""

    model_config = pydantic.ConfigDict(extra="ignore", str_strip_whitespace=True)

    component: Literal["data", "model", "training", "all"]
    diagnosis: str = ""
    feedback: str = pydantic.Field(min_length=1, max_length=8000)


Model = TypeVar("Model", bound=pydantic.BaseModel)


def blocks(reply: str) -> list[str]:
    """The texts of the Python blocks of a reply. Raises `UnusableReply` for a block that is not closed."""
    text = _visible(reply)
    found = list(BLOCK.finditer(text))
    rest = BLOCK.sub("", text)
    if re.search(r"^[ ]{0,3}(`{3,}|~{3,})", rest, re.MULTILINE):
        raise UnusableReply("a code block is not closed; the reply may have been cut off. Send the whole file again.")
    return [match[3].rstrip() + "\n" for match in found if _is_python(match)]


def _is_python(block: re.Match[str]) -> bool:
    return block[2].strip().lower() in PYTHON_TAGS and bool(block[3].strip())


def component_source(reply: str, component: Component) -> str:
    """The one file that an engineer was asked for."""
    found = blocks(reply)
    if len(found) > 1:
        named = [block for block in found if _file_of(block) == component]
        found = named or found
    if len(found) != 1:
        raise UnusableReply(
            f"expected exactly one fenced python block with the whole {component}.py, but found {len(found)}."
        )
    other = _file_of(found[0])
    if other not in (None, component):
        raise UnusableReply(f"the block is named {other}.py, but {component}.py was asked for.")
    return found[0]


def whole_pipeline(reply: str) -> tuple[str, Pipeline]:
    """The architect's plan and the three files of its reply, each named by the first line of its block."""
    named: dict[str, list[str]] = {}
    titles = _titles(reply)
    for block, title in zip(blocks(reply), titles, strict=True):
        for file in _files(block):
            name = _file_of(file) or title
            if name:
                named.setdefault(name, []).append(file)
    for component in COMPONENTS:
        count = len(named.get(component, []))
        if count != 1:
            raise UnusableReply(
                f"expected one fenced python block whose first line is `# {component}.py`, but found {count}."
            )
    plan = BLOCK.sub("", _visible(reply)).strip()
    return plan, Pipeline(**{name: named[name][0] for name in COMPONENTS})


def _titles(reply: str) -> list[str | None]:
    """For each Python block, the file that the line of text before it names; None if it names not exactly one."""
    text, before, titles = _visible(reply), 0, list[str | None]()
    for match in BLOCK.finditer(text):
        lines = text[before : match.start()].strip().splitlines()
        found = set(MENTIONED.findall(lines[-1])) if lines else set()
        if _is_python(match):
            titles.append(found.pop() if len(found) == 1 else None)
        before = match.end()
    return titles


def _files(block: str) -> list[str]:
    """A block as the files in it: small models write all three into one, each under its name."""
    starts = [match.start() for match in HEADING.finditer(block)]
    if len(starts) < 2 or starts[0] != 0:
        return [block]
    return [block[start:end].rstrip() + "\n" for start, end in zip(starts, [*starts[1:], len(block)], strict=True)]


def plain_text(reply: str, limit: int) -> str:
    """A reply that is prose, without code blocks, cut at `limit` characters."""
    text = " ".join(BLOCK.sub("", _visible(reply)).split())
    if not text:
        raise UnusableReply("the reply is empty.")
    return text[:limit]


def json_object(reply: str, schema: type[Model]) -> Model:
    """The JSON object of a reply, checked. Raises `UnusableReply` saying what is missing or ambiguous."""
    objects = _objects(_visible(reply))
    if len(objects) != 1:
        raise UnusableReply(f"expected exactly one JSON object, but found {len(objects)}.")
    try:
        return schema.model_validate(objects[0])
    except pydantic.ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise UnusableReply(f"the JSON object does not fit: {problems}.") from None


def _objects(text: str) -> list[dict[str, object]]:
    """Every JSON object that stands in the text, not those inside others."""
    decoder = json.JSONDecoder()
    found = []
    position = text.find("{")
    while position != -1:
        try:
            value, end = decoder.raw_decode(text, position)
            found.append(value)
        except json.JSONDecodeError:
            end = position + 1
        position = text.find("{", end)
    return found


def _visible(reply: str) -> str:
    if len(reply) > MAX_REPLY:
        raise UnusableReply(f"the reply is longer than {MAX_REPLY} characters.")
    return THINKING.sub("", reply).replace("\r\n", "\n").replace("\0", "")


def _file_of(block: str) -> str | None:
    match = FILE_NAME.match(block)
    return match[1] if match else None
