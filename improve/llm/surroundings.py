"""Variables of the environment that decide how a client reaches its server, and that break it where they are wrong.

The HTTP client reads them when it is made and fails with whatever comes up first. Here each is tried alone, so that
people are told which one it is.
"""

from __future__ import annotations

import os
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from improve.config.invocation import install_command, own_python

CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERTIFICATE")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def proxy_variables() -> list[str]:
    """The variables of proxies that are set, in either spelling."""
    return [name for name in os.environ if name.upper() in PROXIES and os.environ[name].strip()]


def broken() -> Iterator[tuple[str, str]]:
    """What is wrong with the surroundings: a sentence that names the variable, and what mends it."""
    yield from filter(None, map(_certificates, CERTIFICATES))
    for name in proxy_variables():
        yield from _proxy(name)


def _certificates(name: str) -> tuple[str, str] | None:
    value = os.environ.get(name, "")
    if not value:
        return None
    path, fix = Path(value), f"unset {name}, or name a file of certificates: export {name}=$({own_python()} -m certifi)"
    if not path.exists():
        return f"{name}={value} names certificates that are not there.", fix
    try:
        if path.is_file():
            ssl.create_default_context(cafile=value)
    except (ssl.SSLError, OSError) as error:
        return f"{name}={value} holds no certificates that can be read ({error.strerror or error}).", fix
    return None


def _proxy(name: str) -> Iterator[tuple[str, str]]:
    """Whether the HTTP client can be made with this variable and no other. The value may hold a password."""
    import httpx

    try:
        with _only(name), httpx.Client(verify=False):
            pass
    except ImportError:
        yield (
            f"{name} names a SOCKS proxy, and the package socksio is not installed.",
            f"{install_command('socksio')}; or unset {name}",
        )
    except (ValueError, httpx.InvalidURL, OSError) as error:
        if name.upper() != "NO_PROXY":
            yield (
                f"{name} is not the address of a proxy ({_harmless(error)}).",
                (f"unset {name}, or export {name}=http://HOST:PORT"),
            )
            return
        faulty = ",".join(_faulty_hosts(name))
        yield (
            f"{name} holds {faulty}, which the HTTP client cannot read.",
            (f"take {faulty} out of {name}; an IPv6 address stands there without brackets and without a range: ::1"),
        )
    else:
        return


def _faulty_hosts(name: str) -> list[str]:
    """The entries of a NO_PROXY with which no client can be made."""
    import httpx

    faulty = []
    for host in os.environ[name].split(","):
        try:
            with _only(name, host), httpx.Client(verify=False):
                pass
        except (ValueError, httpx.InvalidURL):
            faulty.append(host.strip())
    return faulty


def _harmless(error: Exception) -> str:
    """What kind of mistake it is, without the value: an address of a proxy may hold a password."""
    return "its scheme is unknown" if "scheme" in str(error) else "it cannot be read"


@contextmanager
def _only(name: str, value: str | None = None) -> Iterator[None]:
    """The environment with one variable of proxies alone."""
    kept = {key: os.environ[key] for key in proxy_variables()}
    for key in kept:
        del os.environ[key]
    os.environ[name] = kept[name] if value is None else value
    try:
        yield
    finally:
        del os.environ[name]
        os.environ.update(kept)


def proxy_for(url: str) -> tuple[str, str, int] | None:
    """The proxy through which an address is asked: its variable, its host and its port; None if there is none."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("localhost", "127.0.0.1", "::1") or urllib.request.proxy_bypass(host):
        return None
    known = urllib.request.getproxies()
    for key in (parts.scheme, "all"):
        if known.get(key):
            proxy = urlsplit(known[key] if "://" in known[key] else f"http://{known[key]}")
            variable = next((name for name in proxy_variables() if name.lower() == f"{key}_proxy"), f"{key}_proxy")
            port = proxy.port or {"https": 443, "http": 80}.get(proxy.scheme, 1080)
            return variable, proxy.hostname or "", port
    return None
