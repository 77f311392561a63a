"""Reading replies: one file in a code block, three files, JSON, prose. What is ambiguous or cut off is refused.

Nothing here runs what it reads. A reply that cannot be read raises `UnusableReply`, whose message goes back to the
role. Of several blocks one is taken only if it is whole Python: a fence inside of a file's own text would else pass
for its end.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import pydantic

from improve.agents.blocks import Block, CutOff, UnusableReply, fences, scan
from improve.domain import COMPONENTS, Component, Pipeline
from improve.pipeline.contract import REQUIRED
from improve.pipeline.names import defined

__all__ = [
    "CutOff",
    "Proposal",
    "UnusableReply",
    "component_source",
    "json_object",
    "plain_text",
    "whole_pipeline",
]

FIRST_LINE = re.compile(
    r"^(?:#|\"{3}|'{3})[ \t]*(?:file(?:name)?:[ \t]*)?(present[ \t]+)?[`*\w/.]*?\b(data|model|training)\.py\b", re.I
)
# The name of a file alone on a line, between the files of one block.
HEADING = re.compile(r"^#[ \t]*(?:data|model|training)\.py[ \t]*$", re.MULTILINE)
# What Python says of a source that ends too early.
UNFINISHED = re.compile(r"unterminated triple-quoted|was never closed|unexpected EOF|expected an indented block")
OBJECT_BEGINS = re.compile(r"\{\s*[\"'}]")
FILE = re.compile(r"\b(data|model|training)\.py\b")
PYTHON_TAGS = ("", "python", "py", "python3", "py3", "data.py", "model.py", "training.py")
JSON_TAGS = ("", "json", "json5", "jsonc", "text")
MAX_REPLY = 200_000  # characters
NEAR = 20  # characters of a JSON text that an error quotes on each side


class Proposal(pydantic.BaseModel):
    """The analyst's answer: one component and what its engineer should change."""

    model_config = pydantic.ConfigDict(extra="ignore", str_strip_whitespace=True)

    component: Literal["data", "model", "training", "all"]
    diagnosis: str = ""
    feedback: str = pydantic.Field(min_length=1, max_length=8000)

    @pydantic.field_validator("component", mode="before")
    @classmethod
    def _plain_name(cls, value: Any) -> Any:
        """ "Model", "model.py" and "`model`" mean the same."""
        return value.strip(" `'\"").lower().removesuffix(".py") if isinstance(value, str) else value


Model = TypeVar("Model", bound=pydantic.BaseModel)


def component_source(reply: str, component: Component) -> str:
    """The one file that an engineer was asked for."""
    every = _scan(reply)[0]
    found = _distinct(_python(every))
    meant = _meant(found, component) if len(found) > 1 else found
    if len(meant) != 1:
        count = len(meant or found)
        raise UnusableReply(
            f"expected exactly one fenced python block with the whole {component}.py, but found {count}."
        )
    other = _name_of(meant[0]) or _by_definitions(meant[0])
    if other not in (None, component):
        raise UnusableReply(f"the block is {other}.py, but {component}.py was asked for.")
    return _whole(meant[0], component, alone=len(every) == 1 and fences(reply) == 2)


def whole_pipeline(reply: str) -> tuple[str, Pipeline]:
    """The architect's plan and the three files of its reply, named in or above its block, or by what it defines."""
    every, plan = _scan(reply)
    found = _distinct([file for block in _python(every) for file in _files(block)])
    # One block for each file, and no fence besides theirs: none can be half of another.
    alone = len(every) == len(found) == len(COMPONENTS) and fences(reply) == 2 * len(COMPONENTS)
    files: dict[str, str] = {}
    for component in COMPONENTS:
        own = [block for block in found if _named(block) == component]
        if len(own) > 1:
            own = _meant(own, component)
        if len(own) != 1:
            raise UnusableReply(
                f"expected one fenced python block whose first line is `# {component}.py`, but found {len(own)}."
            )
        files[component] = _whole(own[0], component, alone)
    return plan, Pipeline(**files)


def _files(block: Block) -> list[Block]:
    """A block as the files in it: small models write all three into one, each under its name."""
    starts = [match.start() for match in HEADING.finditer(block.text)]
    if len(starts) < 2 or starts[0] != 0:
        return [block]
    ends = [*starts[1:], len(block.text)]
    return [Block("", block.text[start:end].rstrip() + "\n", "") for start, end in zip(starts, ends, strict=True)]


def plain_text(reply: str, limit: int) -> str:
    """A reply that is prose, without code blocks, cut at `limit` characters; or the text of its only block."""
    found, prose = _scan(reply)
    text = " ".join(prose.split())
    if not text and len(found) == 1:
        text = " ".join(found[0].text.split())
    if not text:
        raise UnusableReply("the reply is empty.")
    return text[:limit]


def json_object(reply: str, schema: type[Model]) -> Model:
    """The JSON object of a reply, checked. Raises `UnusableReply` saying what is missing or ambiguous.

    Of several objects the only one that fits the schema is taken; of several that fit, none.
    """
    found: dict[str, Any] = {}
    for text in _json_texts(reply):
        found |= _objects(text)
    if not found:
        raise UnusableReply("expected exactly one JSON object, but found 0.")
    fitting: dict[str, Model] = {}
    problems = []
    for value in found.values():
        try:
            model = schema.model_validate(value)
            fitting[model.model_dump_json()] = model
        except pydantic.ValidationError as error:
            problems.append("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()))
    if len(fitting) > 1 or (not fitting and len(found) > 1):
        raise UnusableReply(f"expected exactly one JSON object, but found {len(found)}.")
    if not fitting:
        raise UnusableReply(f"the JSON object does not fit: {problems[0]}.")
    return next(iter(fitting.values()))


def _json_texts(reply: str) -> list[str]:
    # An object that ends is whole, even if its fence does not end; one that does not end is refused below.
    found, prose = scan(_visible(reply), open_end=True)
    return [*(block.text for block in found if block.tag in JSON_TAGS), prose]


def _objects(text: str) -> dict[str, Any]:
    """Every JSON object that stands in the text, not those inside others; each once, by its own text."""
    decoder = json.JSONDecoder(strict=False, object_pairs_hook=_unique)  # a raw line break in a string is forgiven
    found: dict[str, Any] = {}
    begins = OBJECT_BEGINS.search(text)
    while begins:
        try:
            value, end = decoder.raw_decode(text, begins.start())
            found[json.dumps(value, sort_keys=True)] = value
        except json.JSONDecodeError as error:
            # Begun and not ended: an object inside of it is not the answer.
            near = " ".join(text[max(0, error.pos - NEAR) : error.pos + NEAR].split())
            raise UnusableReply(f"the JSON object is not valid: {error.msg} near `{near}`.") from None
        except RecursionError:
            raise UnusableReply("the JSON object is nested too deeply.") from None
        begins = OBJECT_BEGINS.search(text, end)
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise UnusableReply("the JSON object holds a key twice.")
    return values


def _scan(reply: str) -> tuple[list[Block], str]:
    return scan(_visible(reply))


def _visible(reply: str) -> str:
    if len(reply) > MAX_REPLY:
        raise UnusableReply(f"the reply is longer than {MAX_REPLY} characters.")
    return reply.replace("\0", "")


def _python(found: Sequence[Block]) -> list[Block]:
    return [block for block in found if block.tag in PYTHON_TAGS and block.text.strip()]


def _distinct(found: Sequence[Block]) -> list[Block]:
    """Each text once: a model that repeats itself contradicts nobody."""
    return list({block.text: block for block in found}.values())


def _meant(found: Sequence[Block], component: Component) -> list[Block]:
    """The blocks among several that may be the file: those with its name, else those that define what it must."""
    named = [block for block in found if _name_of(block) == component]
    return [block for block in named if not _is_quoted(block)] or [
        block for block in found if _name_of(block) is None and _by_definitions(block) == component
    ]


def _named(block: Block) -> str | None:
    """The file that a block is: by its first line or its fence, else by the line above it, else by its definitions."""
    above = set(FILE.findall(block.before))
    return _name_of(block) or (above.pop() if len(above) == 1 else None) or _by_definitions(block)


def _name_of(block: Block) -> str | None:
    in_fence = FILE.search(block.info)
    first = FIRST_LINE.match(block.text)
    return in_fence[1] if in_fence else first[2].lower() if first else None


def _is_quoted(block: Block) -> bool:
    """The prompt shows the files of the incumbent as `# present model.py`; a reply may quote one before its own."""
    first = FIRST_LINE.match(block.text)
    return bool(first and first[1])


def _by_definitions(block: Block) -> str | None:
    """The only component all of whose names the block defines."""
    tree = _parsed(block.text)
    names: set[str] = defined(tree) if isinstance(tree, ast.Module) else set()
    fitting = [component for component in COMPONENTS if names.issuperset(REQUIRED[component])]
    return fitting[0] if len(fitting) == 1 else None


def _parsed(source: str) -> ast.Module | str:
    """The syntax tree, or why there is none."""
    try:
        return ast.parse(source)
    except SyntaxError as error:
        return f"{error.msg} (line {error.lineno})"
    except (ValueError, RecursionError, MemoryError) as error:
        return str(error) or type(error).__name__


def _whole(block: Block, component: Component, alone: bool) -> str:
    """The text of a file. It may be faulty Python, which its engineer then repairs, but not half of a file.

    One that is not alone must be Python, and none may end within a bracket or a text: it may hold a fence of its own.
    """
    tree = _parsed(block.text)
    if isinstance(tree, str) and (not alone or UNFINISHED.search(tree)):
        raise UnusableReply(
            f"{component}.py is not complete Python: {tree}. Send the whole file in one block of its own."
        )
    return block.text
