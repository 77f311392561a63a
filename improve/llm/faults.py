"""What went wrong with a call, and what follows from it: try again, stop, or give this one prompt up."""

from __future__ import annotations

import email.utils
import enum
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from improve.errors import LLMError

if TYPE_CHECKING:
    from improve.llm.reply import Reply

CONTEXT_WORDS = re.compile(
    r"context_length_exceeded|maximum context length|context window|prompt is too long|input is too long"
    r"|exceeds? the (?:available )?context|input token count .* exceeds|too many tokens",
    re.IGNORECASE,
)
REFUSAL_WORDS = re.compile(
    r"content[_ ](?:filter|policy|management)|responsible ai policy|safety system", re.IGNORECASE
)
FORMAT_WORDS = re.compile(
    r"response_format|response format|json_schema|json_object|json mode|structured outputs?|response_?schema|grammar"
    r"|output_config|output_format",
    re.IGNORECASE,
)
# Gemini words its per-minute limits as OpenAI words a used-up account, so "exceeded your current quota" says nothing.
QUOTA_WORDS = re.compile(
    r"insufficient_quota|insufficient balance|credit balance|billing_hard_limit|billing_not_active|out of credits"
    r"|insufficient credits|account_deactivated|spend(?:ing)? limit",
    re.IGNORECASE,
)
ASKED_IN_TEXT = re.compile(r"(?:retryDelay\W+|retry (?:in|after) )(\d+(?:\.\d+)?) ?s", re.IGNORECASE)
CONTEXT_SIZE = re.compile(r"context (?:length|window|size)\D{0,20}?(\d{3,7})\b", re.IGNORECASE)
OUTPUT_WORDS = re.compile(r"completion|max_\w*tokens|output", re.IGNORECASE)
AGAIN = (408, 409, 425, 429)
NOT_IMPLEMENTED = 501  # by that server, now and later
PREFIX = re.compile(r"^(?:litellm\.)?\w*(?:Error|Exception|Timeout)(?: -|:) ")
LOOKED_AT = 4096  # bytes of an answer in which codes are looked for
LONGEST = 300  # characters of an error that people are shown


class Kind(enum.Enum):
    """What follows from a fault."""

    AGAIN = "again"  # it may pass: wait and try again
    STOP = "stop"  # it will not pass by itself: key, credit, address, request
    REFUSED = "refused"  # the provider declines this prompt
    CONTEXT = "context"  # this prompt is too long for the model
    ENDLESS = "endless"  # the answer is too long to be read
    FORMAT = "format"  # the server cannot give JSON in the way it was asked for
    PARAMETER = "parameter"  # the server does not take a parameter, and names it
    ROOM = "room"  # prompt and reply together are too long, and the server says how long they may be
    UNREADABLE = "unreadable"  # replies were begun, and so are paid, and none could be read


class CallFailed(Exception):
    """One try that gave no reply. `text` holds no key; `wait`: seconds that the server asks for, if it does.

    `about`: the parameter that is refused, or how many tokens there is room for. `fix`: what mends it, if it is known.
    """

    def __init__(
        self, kind: Kind, text: str, status: int | None, wait: float | None = None, about: str = "", fix: str = ""
    ) -> None:
        super().__init__(text)
        self.kind, self.text, self.status, self.wait, self.about, self.fix = kind, text, status, wait, about, fix


class Unanswered(LLMError):
    """A call that ended without a reply: what it took, for the record."""

    def __init__(self, what: str, fix: str, model: str, taken: Reply) -> None:
        super().__init__(what, fix)
        self.model, self.taken = model, taken

    def record(self) -> dict[str, Any]:
        """As journals hold it, less whose call it was (`improve.record.kinds.UnansweredRecord`)."""
        taken = self.taken
        paid = {"tokens": taken.tokens, "usd": taken.usd, "call_seconds": taken.seconds}
        return {"model": self.model, "said": self.what, "retries": taken.retries, "unread": taken.unread, **paid}


def kind_of(status: int | None, text: str, structured: bool) -> Kind:
    """From the HTTP status (None: no answer) and the error's text. `structured`: JSON was asked for by a parameter."""
    if status is None:
        return Kind.AGAIN
    if 400 <= status < 500:
        if QUOTA_WORDS.search(text) or status == 402:
            return Kind.STOP
        if status not in (*AGAIN, 401, 403):
            return _of_request(text, structured)
        return Kind.AGAIN if status in AGAIN else Kind.STOP
    if status in (500, NOT_IMPLEMENTED) and structured and FORMAT_WORDS.search(text):
        return Kind.FORMAT
    return Kind.STOP if status == NOT_IMPLEMENTED else Kind.AGAIN


def _of_request(text: str, structured: bool) -> Kind:
    if CONTEXT_WORDS.search(text):
        return Kind.CONTEXT
    if REFUSAL_WORDS.search(text):
        return Kind.REFUSED
    return Kind.FORMAT if structured and FORMAT_WORDS.search(text) else Kind.STOP


def asked_wait(headers: Mapping[str, str], text: str) -> float | None:
    """Seconds that the server asks to wait: Retry-After as a number or a date, or in the words of its error."""
    milliseconds, given = headers.get("retry-after-ms", ""), headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", milliseconds):
        return float(milliseconds) / 1000
    if re.fullmatch(r"\d+(\.\d+)?", given):
        return float(given)
    if given:
        try:
            return max(0.0, email.utils.parsedate_to_datetime(given).timestamp() - time.time())
        except ValueError:
            return None
    found = ASKED_IN_TEXT.search(text)
    return float(found[1]) if found else None


def in_words(text: str) -> str:
    """An error in one line: without the names of the classes that it went through, and not endless."""
    line = " ".join(text.split())
    while PREFIX.match(line):
        line = PREFIX.sub("", line, count=1)
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"
