"""The code blocks and the prose of a reply. Lines are taken whole, and a block only if both its fences are there.

What a model thinks aloud (`<think>…</think>`) is neither: it is left out, with the blocks in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# As the chat templates of DeepSeek, Qwen, Seed, Magistral, Kimi and gpt-oss write them.
THINK = r"(?:think|thinking|thoughts?|reasoning|reflection|seed:think)"
OPEN = rf"(?:<{THINK}>|\[THINK\]|◁think▷|<\|channel\|>\s*analysis\s*<\|message\|>)"
CLOSE = rf"(?:</{THINK}>|\[/THINK\]|◁/think▷|<\|channel\|>\s*final\s*<\|message\|>)"
THINK_OPENS = re.compile(rf"^\s*(?:<\|start\|>assistant)?{OPEN}", re.IGNORECASE)
THINK_CLOSES = re.compile(CLOSE, re.IGNORECASE)
THINK_LINE = re.compile(rf"^\s*(?:{OPEN}|{CLOSE})\s*$", re.IGNORECASE)


class UnusableReply(Exception):
    """What is wrong with a reply, in words for the role that wrote it."""


class CutOff(UnusableReply):
    """The reply ends in the middle."""


@dataclass(frozen=True)
class Block:
    """A fenced block: the words after its opening fence, its text, and the last line of prose before it."""

    info: str
    text: str
    before: str

    @property
    def tag(self) -> str:
        """The language: "python" of "```{python} title=x", "" if none is named."""
        words = re.split(r"[\s:,{}]+", self.info.strip("{} \t").lower())
        return words[0].lstrip(".")


def scan(reply: str, open_end: bool = False) -> tuple[list[Block], str]:
    """The blocks of a reply in their order, and its prose. `open_end` takes the last block without its closing fence.

    Raises `CutOff` for a block or thoughts without an end, `UnusableReply` where thoughts end inside of a block: what
    belongs to the answer is then a guess.
    """
    scanner = _Scanner()
    for line in re.sub(r"\r+\n", "\n", reply).split("\n"):
        scanner.feed(line)
    return scanner.end(open_end)


@dataclass(frozen=True)
class _Fence:
    """A line that opens a block: its indentation, its backticks or tildes, and the words after them."""

    indent: str
    marks: str
    info: str

    def closed_by(self, line: str) -> bool:
        bare = line.strip()
        return len(bare) >= len(self.marks) and not bare.strip(self.marks[0])


def _fence(line: str) -> _Fence | None:
    # By hand: a regular expression would need time in the square of a line's length.
    text = line.lstrip(" \t")
    mark = text[:1]
    info = text.lstrip(mark) if mark in ("`", "~") else text
    marks = text[: len(text) - len(info)]
    if len(marks) < 3 or (mark == "`" and "`" in info):
        return None
    return _Fence(line[: len(line) - len(text)], marks, info.strip())


def fences(reply: str) -> int:
    """How many lines could open or close a block, those in thoughts included."""
    return sum(_fence(line) is not None for line in reply.splitlines())


class _Scanner:
    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.prose: list[str] = []
        self._said = ""  # the last line of prose that is not empty
        self._lines: list[str] = []  # of the open block
        self._opened: _Fence | None = None
        self._thinking = False

    def feed(self, line: str) -> None:
        rest: str | None = line
        while rest is not None:
            rest = self._take(rest)

    def _take(self, line: str) -> str | None:
        """Take a line in; gives what is left of it after a tag, None if nothing is."""
        if self._thinking:
            close = THINK_CLOSES.search(line)
            self._thinking = close is None
            return line[close.end() :] if close else None
        if self._opened is not None:
            self._inside(line, self._opened)
            return None
        opens = THINK_OPENS.match(line)
        if opens:
            self._thinking = True
            return line[opens.end() :]
        if THINK_CLOSES.search(line):
            # Some servers leave the opening tag out: all before this was thought.
            self.blocks, self.prose, self._said = [], [], ""
            return THINK_CLOSES.split(line)[-1]
        self._opened = _fence(line)
        if self._opened is None:
            self.prose.append(line)
            self._said = line.strip() or self._said
        return None

    def _inside(self, line: str, opened: _Fence) -> None:
        if opened.closed_by(line):
            self._close(opened)
        elif THINK_LINE.match(line):
            raise UnusableReply("thoughts end inside of a code block, so it is not clear what the answer is.")
        else:
            self._lines.append(line)

    def _close(self, opened: _Fence) -> None:
        # A block in a list is indented as its fence is.
        text = "\n".join(line.removeprefix(opened.indent) for line in self._lines).rstrip() + "\n"
        self.blocks.append(Block(opened.info, text, self._said))
        self.prose.append("")
        self._opened, self._lines = None, []

    def end(self, open_end: bool) -> tuple[list[Block], str]:
        if self._thinking:
            raise CutOff("the thoughts do not end, so there is no answer. Think less, and answer.")
        if self._opened is not None:
            if not open_end:
                raise CutOff("a code block is not closed; the reply may have been cut off. Send the whole file again.")
            self._close(self._opened)
        return self.blocks, "\n".join(self.prose).strip()
