"""What went wrong with one try, from litellm's error and from what the wire saw: the fault and what follows from it."""

from __future__ import annotations

import ssl
from collections.abc import Collection, Iterator

import httpx

from improve.config.schema import LLMConfig
from improve.llm import faults
from improve.llm.faults import CallFailed, Kind, asked_wait, in_words, kind_of
from improve.llm.library import load
from improve.llm.manners import FORMAT, refused
from improve.llm.secrets import redact
from improve.llm.surroundings import proxy_variables
from improve.llm.wire import Wire

MAX_ERROR = 10_000  # characters of an error that are looked at
# A request that a server finds faulty: some say so with 500.
NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF", "HTTP_REQUEST")
OF_REQUEST = (400, 405, 415, 422, 500, 501)


def trouble(config: LLMConfig, error: Exception, wire: Wire, sent: Collection[str]) -> CallFailed:
    """The fault behind an error. `sent` are the parameters that could have been left out."""
    litellm, _ = load()
    if wire.too_long:
        return CallFailed(Kind.ENDLESS, "the answer is longer than can be read.", wire.status)
    never = _never(error, wire)
    if never is not None:
        return never
    text = redact(str(getattr(error, "message", "") or error), config.api_key_env)[:MAX_ERROR]
    if wire.fault is not None:  # the server's own words
        text = redact(wire.fault.message, config.api_key_env)[:MAX_ERROR]
    unreached = isinstance(error, (litellm.exceptions.Timeout, litellm.exceptions.APIConnectionError))
    if isinstance(error, ImportError):
        status: int | None = 400  # a provider whose package is not installed
    elif wire.status in OF_REQUEST and wire.fault is None and isinstance(error, litellm.exceptions.Timeout):
        status = None  # what the server finds faulty never came, so nothing is decided
    elif wire.status is not None:
        status = wire.status if wire.status >= 400 else None  # an answer that is no answer: HTML, cut off, stalled
    else:
        status = None if unreached else getattr(error, "status_code", None)
    # Words leave out what an answer says in codes ("insufficient_quota").
    everything = text + wire.begun[: faults.LOOKED_AT].decode(errors="replace")
    kind, about = kind_of(status, everything, FORMAT in sent), ""
    if status in OF_REQUEST and kind in (Kind.STOP, Kind.FORMAT, Kind.AGAIN):
        pointed = wire.fault.names if wire.fault else ()
        about = refused(text, pointed, sent) or ""
        if about and (kind is not Kind.FORMAT or about in pointed):
            kind = Kind.FORMAT if about == FORMAT else Kind.PARAMETER
    # A reply that may be shorter mends it only if the reply is a part of the complaint.
    size = faults.CONTEXT_SIZE.search(text) if kind is Kind.CONTEXT and faults.OUTPUT_WORDS.search(text) else None
    if size:
        kind, about = Kind.ROOM, size[1]
    return CallFailed(kind, in_words(text), status, asked_wait(wire.headers, everything), about)


def _never(error: Exception, wire: Wire) -> CallFailed | None:
    """A fault of the way to the server that no waiting mends; None if it may pass."""
    if wire.elsewhere:
        what = f"the server sends its callers on to {wire.elsewhere}, where no prompt is sent without your word."
        return CallFailed(Kind.STOP, what, wire.status, fix=f"if that is right: llm.api_base=http://{wire.elsewhere}/…")
    for cause in _causes(error):
        said = " ".join(str(cause).split())
        if isinstance(cause, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in said:
            fix = "name a file that holds your server's or proxy's certificate: export SSL_CERT_FILE=FILE.pem"
            return CallFailed(Kind.STOP, f"the server's certificate is not trusted: {in_words(said)}", None, fix=fix)
        if isinstance(cause, ssl.SSLError) and any(word in said for word in NO_TLS):
            fix = "write http:// instead of https:// in llm.api_base, or give the port of its TLS"
            return CallFailed(Kind.STOP, "the server does not speak TLS (https).", None, fix=fix)
        if isinstance(cause, httpx.ProxyError) and said[:3] in ("401", "403", "405", "407"):
            fix = f"check {' and '.join(proxy_variables())}, or name the host in NO_PROXY"
            return CallFailed(Kind.STOP, f"the proxy refuses: {in_words(said)}", None, fix=fix)
        if isinstance(cause, (UnicodeError, httpx.LocalProtocolError)):
            fix = "set the variable with the key anew: it holds characters that no key has"
            return CallFailed(
                Kind.STOP, "the request cannot be written: its key or address holds odd characters.", None, fix=fix
            )
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from."""
    for _ in range(10):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__
