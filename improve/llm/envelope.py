"""What servers that call themselves OpenAI-compatible really answer, brought into OpenAI's own form.

Content as a list of parts, thoughts beside it, other APIs' envelopes, a stream that nobody asked for: all of them were
paid, so all of them are read. An error under HTTP 200 is told apart from a reply, and gets the status that it means.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

NO_API = re.compile(
    r"unexpected endpoint|endpoint .{0,40}not (?:found|supported)|no route|cannot post|(?:unknown|invalid) url",
    re.IGNORECASE,
)
PASSING = re.compile(
    r"rate.?limit|too many requests|over ?load|try again|temporar|timed? ?out|unavailable|busy|capacity|loading",
    re.IGNORECASE,
)
THOUGHTS = ("thinking", "reasoning", "redacted_thinking", "reasoning_content", "thought")
WRAPPERS = ("data", "result", "output", "response", "body")
COUNTS = {
    "prompt_tokens": ("input_tokens", "prompt_eval_count", "promptTokenCount"),
    "completion_tokens": ("output_tokens", "eval_count", "candidatesTokenCount"),
}


@dataclass(frozen=True)
class Fault:
    """An error in a server's own words. `status`: what it means in HTTP; `names`: the parameters that it points at."""

    status: int
    message: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Told:
    """What one message says: the answer, the thoughts beside it, the refusal in place of it."""

    text: str = ""
    thoughts: str = ""
    refusal: str = ""

    def __add__(self, other: Told) -> Told:
        return Told(self.text + other.text, self.thoughts + other.thoughts, self.refusal or other.refusal)


def opened(body: bytes) -> dict[str, Any] | Fault | None:
    """An answer under HTTP 200: OpenAI's form of a reply, or the error that it is; None if it is no JSON."""
    values = parsed(body)
    if values is None:
        pieces = [piece for piece in _streamed(body) if isinstance(piece, dict)]
        return _joined(pieces, b"[DONE]" in body) if pieces else None
    if isinstance(values, list) and values and isinstance(values[0], dict):
        values = values[0]
    if not isinstance(values, dict):
        return None
    values = _unwrapped(values)
    return fault_of(values) or _reply(values)


def _unwrapped(values: dict[str, Any]) -> dict[str, Any]:
    """What lies in the envelope of a gateway around a reply: {"code": 0, "data": {…}}, {"output": {"text": …}}."""
    if values.get("error") or values.get("choices"):
        return values
    for key in WRAPPERS:
        inner = values.get(key)
        if isinstance(inner, dict) and (_is_reply(inner) or isinstance(inner.get("text"), str)):
            return _unwrapped({**{name: value for name, value in values.items() if name != key}, **inner})
    return values


def parsed(body: bytes) -> Any:
    """The JSON of a body; None if it is none."""
    try:
        return json.loads(body.decode("utf-8", "replace"), strict=False)
    except (ValueError, RecursionError):
        return None


def fault_of(values: Mapping[str, Any], status: int = 200) -> Fault | None:
    """The error that a body tells of; None if it holds none. `status` is that of the answer."""
    error = values.get("error")
    if not error and isinstance(values.get("choices"), list):
        error = next((choice.get("error") for choice in values["choices"] if isinstance(choice, dict)), None)
    if not error and (status >= 400 or not _is_reply(values)):
        failed = status >= 400 or _says_failed(values)
        plain = values.get("message") or values.get("msg") or values.get("error_msg") if failed else None
        error = values.get("detail") or values.get("errors") or plain
    if not error:
        return None
    message = " ".join(_words(error)) or json.dumps(error)
    if status < 400:
        place = 404 if NO_API.search(message) else 400
        status = _meant(error, values) or (503 if PASSING.search(message) else place)
    return Fault(status, message, tuple(_pointed_at(error)))


def _is_reply(values: Mapping[str, Any]) -> bool:
    known = ("choices", "response", "output", "content", "candidates", "generated_text", "usage")
    return isinstance(values.get("message"), Mapping) or any(values.get(key) is not None for key in known)


def _says_failed(values: Mapping[str, Any]) -> bool:
    """Whether a body without a reply says of itself that it is an error."""
    if "error" in (values.get("object"), values.get("type"), values.get("status")) or values.get("success") is False:
        return True
    return any(str(values.get(key, 0)) not in ("0", "200") for key in ("code", "error_code", "status_code"))


def _meant(error: Any, values: Mapping[str, Any]) -> int | None:
    """The HTTP status that an error names itself."""
    for holder in (error, values):
        for key in ("code", "status", "status_code", "http_status"):
            value = holder.get(key) if isinstance(holder, Mapping) else None
            if str(value).isdigit() and 400 <= int(str(value)) < 600:
                return int(str(value))
    return None


def _words(error: Any) -> Iterator[str]:
    """The sentences of an error: OpenAI's object, a plain text, FastAPI's list of what is wrong where."""
    if isinstance(error, str):
        yield error
    elif isinstance(error, list):
        for part in error:
            yield from _words(part)
    elif isinstance(error, Mapping):
        where = ".".join(str(part) for part in error.get("loc", ()) if part != "body")
        said = next((error[key] for key in ("message", "msg", "error", "detail") if error.get(key)), "")
        for text in _words(said):
            yield f"{where}: {text}" if where else text
        code = error.get("code")
        if isinstance(code, str) and code:
            yield f"({code})"


def _pointed_at(error: Any) -> Iterator[str]:
    """Parameters by name: OpenAI's `param`, FastAPI's `loc`."""
    for part in error if isinstance(error, list) else [error]:
        if isinstance(part, Mapping):
            yield from ([part["param"]] if isinstance(part.get("param"), str) else [])
            yield from [name for name in part.get("loc", ()) if isinstance(name, str) and name != "body"]


def _reply(values: dict[str, Any]) -> dict[str, Any] | Fault:
    """OpenAI's form of a reply in one of the envelopes that are known. What is none of them is no reply at all."""
    choices, ended = values.get("choices"), "stop"
    choices = list(choices.values()) if isinstance(choices, dict) else choices
    message = values.get("message")
    if isinstance(choices, list) or (choices is None and values.get("usage") and not _is_other(values)):
        found = [one for one in choices or () if isinstance(one, dict)]
        choice = next((one for one in found if _choice(one).text), found[0] if found else None)
        told = _choice(choice) if choice else None
        ended = str((choice or {}).get("finish_reason") or "stop")
    elif isinstance(message, dict):  # Ollama's own chat
        told, ended = _message(message), str(values.get("done_reason") or "stop")
    elif isinstance(values.get("response"), str):  # Ollama's own generate
        told, ended = Told(values["response"], _text(values.get("thinking"))), str(values.get("done_reason") or "stop")
    elif isinstance(values.get("output"), list):  # OpenAI's Responses
        told = sum((_item(item) for item in values["output"]), Told())
        ended = "length" if values.get("status") == "incomplete" else "stop"
    elif isinstance(values.get("content"), (list, str)):  # Anthropic's Messages
        told = _parts(values["content"])
        ended = {"max_tokens": "length", "refusal": "content_filter"}.get(str(values.get("stop_reason")), "stop")
    elif isinstance(values.get("candidates"), list) and values["candidates"]:  # Gemini's own
        candidate = values["candidates"][0]
        told = _parts((candidate.get("content") or {}).get("parts"))
        ended = {"MAX_TOKENS": "length", "SAFETY": "content_filter"}.get(str(candidate.get("finishReason")), "stop")
    elif text := next((values[key] for key in ("generated_text", "text") if isinstance(values.get(key), str)), ""):
        told, ended = Told(text), str(values.get("finish_reason") or "stop")
    else:
        return Fault(404, f"an answer that is no reply of a model: {json.dumps(values)}")
    return _as_openai(values, told, ended)


def _is_other(values: Mapping[str, Any]) -> bool:
    return any(values.get(key) is not None for key in ("message", "response", "output", "content", "generated_text"))


def _as_openai(values: Mapping[str, Any], told: Told | None, ended: str) -> dict[str, Any]:
    choices = []
    if told is not None:
        content = {"content": told.text or None, "refusal": told.refusal or None}
        message = {"role": "assistant", **content, **({"reasoning_content": told.thoughts} if told.thoughts else {})}
        choices = [{"index": 0, "finish_reason": ended, "message": message}]
    return {
        "id": str(values.get("id") or "none"),
        "object": "chat.completion",
        "created": 0,
        "model": str(values.get("model") or ""),
        "choices": choices,
        "usage": _usage(values),
    }


def _choice(choice: Mapping[str, Any]) -> Told:
    message = choice.get("message") or choice.get("delta")
    return _message(message) if isinstance(message, dict) else Told(_text(choice.get("text")))


def _message(message: Mapping[str, Any]) -> Told:
    beside = next(
        (_text(message[key]) for key in ("reasoning_content", "reasoning", "thinking") if message.get(key)), ""
    )
    told = _parts(message.get("content")) + Told("", beside, _text(message.get("refusal")))
    return told if told.text else told + Told(_called(message.get("tool_calls")))


def _parts(content: Any) -> Told:
    """Text, a part, or a list of parts: what is thought is not said."""
    if isinstance(content, list):
        return sum((_parts(part) for part in content), Told())
    if not isinstance(content, Mapping):
        return Told(_text(content))
    kind = content.get("type")
    if kind in THOUGHTS or content.get("thought") is True:
        return Told("", next((_text(content[key]) for key in (*THOUGHTS, "text") if content.get(key)), ""))
    if kind == "refusal":
        return Told("", "", _text(content.get("refusal")))
    if "text" in content:
        return Told(_text(content["text"]))
    return Told("" if kind else json.dumps(content))  # the object of an answer in JSON, not written as text


def _item(item: Any) -> Told:
    if not isinstance(item, Mapping):
        return Told()
    told = _parts(item.get("content"))
    return Told("", told.text + told.thoughts) if item.get("type") == "reasoning" else told


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(_text(part) for part in value)
    if isinstance(value, Mapping):
        return next((_text(value[key]) for key in ("text", "value", "thinking", "content") if value.get(key)), "")
    return ""


def _called(calls: Any) -> str:
    """The arguments of the first function call: some servers give JSON in this way alone."""
    function = calls[0].get("function") if isinstance(calls, list) and calls and isinstance(calls[0], dict) else None
    arguments = function.get("arguments") if isinstance(function, dict) else None
    return json.dumps(arguments) if isinstance(arguments, dict) else _text(arguments)


def _usage(values: Mapping[str, Any]) -> dict[str, Any]:
    """Tokens by OpenAI's names; 0 where the server does not count."""
    given = values.get("usage") or values.get("usageMetadata")
    usage: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {}
    for name, others in COUNTS.items():
        found = [usage.get(key) for key in (name, *others)] + [values.get(key) for key in others]
        usage[name] = next((int(count) for count in found if isinstance(count, (int, float)) and count > 0), 0)
    usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
    return {key: value for key, value in usage.items() if key in (*COUNTS, "total_tokens") or isinstance(value, dict)}


def _streamed(body: bytes) -> Iterator[Any]:
    """The pieces of a stream: server-sent events, or a JSON object a line."""
    for line in body.decode("utf-8", "replace").splitlines():
        text = line.removeprefix("data:").strip()
        if text.startswith("{") and (line.startswith("data:") or text.endswith("}")):
            yield parsed(text.encode())


def _joined(pieces: list[dict[str, Any]], done: bool) -> dict[str, Any] | Fault:
    """A stream as one reply. One that breaks off has no end, so it counts as cut off."""
    told, ended, usage, last = Told(), "", None, pieces[-1]
    for piece in pieces:
        fault = fault_of(piece)
        if fault:
            return fault
        choices = piece.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        message = piece.get("message")
        told += _message(message) if isinstance(message, dict) else _choice(choice)
        ended = str(choice.get("finish_reason") or piece.get("done_reason") or ended)
        usage = piece.get("usage") or usage
    return _as_openai({**last, "usage": usage}, told, ended or ("stop" if done else "length"))
