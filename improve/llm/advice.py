"""What a person can do about a call that failed: the server's own words, and the key of ours that mends it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

from improve.config.schema import LLMConfig
from improve.llm.faults import CallFailed, Kind
from improve.llm.manners import KEYS, SYSTEM, Manners
from improve.llm.surroundings import proxy_for

RESUME = "the same command resumes the run where it stopped"
WRONG_PLACE = (404, 405, 501)
# What a server's words are about, where its status does not tell.
SAID = {
    r"api.?key|credential|authenticat|unauthori[sz]ed|(?:bad|invalid) key|(?:invalid|expired) token": (
        "check the key in the variable {variable}"
    ),
    r"arrears|credit|balance|billing|top.?up": "add credit to the account, or choose another model",
    r"response_format|json_schema|json_object": "llm.structured=text",
    r"\bmodel\b.{0,80}(?:not (?:found|exist|available|supported|loaded)|unknown|invalid)|(?:unknown|invalid) model": (
        "check llm.model"
    ),
}
NO_PARAMETER = {
    413: "the server takes no request of that size: raise its limit (nginx: client_max_body_size)",
    451: "choose another model or provider",
}
TOO_MUCH = re.compile(
    r"(?:at most|maximum(?: \w+){0,4}(?: is| of)?:?|up to|less than or equal to|<=|limit of|> ) ?`?(\d{2,7})",
    re.IGNORECASE,
)


def explained(config: LLMConfig, who: str, failed: CallFailed, seconds: float) -> tuple[str, str]:
    """A failed call for people: what happened, and what mends it."""
    status = f"{failed.status}: " if failed.status else ""
    if failed.kind is Kind.AGAIN:
        asks = f", and asks to wait {failed.wait:.0f} s" if failed.wait else ""
        proxy = proxy_for(config.api_base or "https://")
        through = f" (through the proxy in {proxy[0]})" if proxy and not failed.status else ""
        what = f"{who} gave no reply in {seconds:.0f} s{asks}: {status}{failed.text}{through}"
        return what, f"{RESUME}; llm.retry_seconds={config.retry_seconds:g} is how long it may try"
    return f"{who} refused the call: {status}{failed.text}", f"{_fix(config, failed)}; {RESUME}"


def _fix(config: LLMConfig, failed: CallFailed) -> str:
    variable = config.api_key_env or "of the provider"
    fixes = {
        401: f"check the key in the variable {variable}",
        402: "add credit to the account, or choose another model",
        403: f"check what the key in the variable {variable} may use",
        429: "raise the account's quota, or choose another model",
    }
    if failed.fix:
        return failed.fix
    if failed.status in fixes:
        return fixes[failed.status]
    if failed.about in KEYS:
        return KEYS[failed.about]
    if failed.status in WRONG_PLACE or failed.status is None:
        return _of_address(config)
    return _by_its_words(failed, variable)


def _by_its_words(failed: CallFailed, variable: str) -> str:
    """What mends a refused request, by what the server says of it."""
    if re.search(r"max_(?:completion_|output_|new_)?tokens", failed.text):
        most = TOO_MUCH.search(failed.text)
        return f"llm.max_output_tokens={most[1]}" if most else "lower llm.max_output_tokens"
    named = [key for name, key in KEYS.items() if name in failed.text and name != SYSTEM]
    said = [fix.format(variable=variable) for words, fix in SAID.items() if re.search(words, failed.text, re.I)]
    if named or said:
        return ", ".join(named or said[:1])
    keys = ", ".join(dict.fromkeys([*KEYS.values(), "llm.structured=text"]))
    return NO_PARAMETER.get(failed.status or 0, f"if the server takes one of our parameters not, leave it out ({keys})")


def _of_address(config: LLMConfig) -> str:
    """Where the API may be instead; without an address of one's own it is the model that is not there."""
    if config.api_base is None:
        return "check llm.model"
    better = _likely_base(config.api_base)
    protocol = f", and llm.provider={config.provider}" if config.provider not in (None, "openai") else ""
    return f"check llm.model and llm.api_base{protocol}" + (
        f"; most servers have it at llm.api_base={better}" if better else ""
    )


def _likely_base(api_base: str) -> str:
    """The address with the part that OpenAI-compatible servers have at its end; "" if it has one."""
    parts = urlsplit(api_base)
    path = parts.path.rstrip("/")
    if re.search(r"/v\d+(?:beta\w*)?(?:/openai)?$", path):
        return ""
    stem = re.sub(r"/(?:api|v\d+)(?:/.*)?$", "", path)
    return urlunsplit((parts.scheme, parts.netloc, f"{stem}/v1", "", ""))


def learnt(failed: CallFailed, manners: Manners) -> str:
    """What a server has taught, and the key that says so from the start."""
    if failed.kind is Kind.FORMAT:
        return (
            f"asked for JSON as {manners.structured} from now on ({failed.text}); llm.structured={manners.structured}"
        )
    if failed.kind is Kind.ROOM:
        return (
            f"prompt and reply together get {manners.context} tokens from now on; llm.context_tokens={manners.context}"
        )
    name = failed.about
    key = KEYS.get(name, f"llm.parameters without {name}")
    if name == SYSTEM:
        return f"the model knows no system role, so its text stands before the user's from now on; {key}"
    if name.startswith("max_"):
        key = f"llm.limit_parameter={manners.limit or 'none'}"
    instead = f", {manners.limit} is" if name.startswith("max_") and manners.limit else ""
    return f"{name} is not sent any more{instead} ({failed.text}); {key}"
