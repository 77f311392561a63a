"""The server of `improve view`: it answers GET alone, knows a few addresses, and shows text that nobody vouches for.

What keeps that harmless: text is escaped, and each page forbids itself all scripts but its own (report/page.py); a run
is looked up by name among those that are there, so no path is made of an address; its files are read by `RunFiles`.
A page of another site that a browser has open can send requests here, too: it cannot read the answers (no CORS), and a
name that was made to point here (DNS rebinding) is not answered. Whoever is logged in on this machine can read along.
"""

import asyncio
import hashlib
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp import web

from improve.display.text import clean, last_overwritten
from improve.errors import ConfigError, DataError, ImproveError
from improve.record.history import History
from improve.report.files import RunFiles
from improve.report.page import Live, run_page
from improve.report.study.write import study_page
from improve.view.listing import listing, run_link
from improve.view.outputs import RUNNING, Outputs, Seen

LOOPBACK = "127.0.0.1"
PORT = 8008
MOST_PORTS = 65_535
LOG_BYTES = 4_000_000  # of the end of a training's log
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "improve",
    "X-Content-Type-Options": "nosniff",
    # Beside what a page forbids itself: nothing may frame it, and what is no page of ours runs nothing at all.
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
}
OUTPUTS = web.AppKey("outputs", Outputs)
NAMES = web.AppKey("names", frozenset)


def serve(folder: Path, host: str = LOOPBACK, port: int = PORT) -> None:
    """Serve the runs below a folder until Ctrl-C. Raises `DataError` or `ConfigError` if that cannot be."""
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder.", "give the folder of a run, or one that holds folders of runs")
    opened = _listen(host, port)
    address, number = opened.getsockname()[:2]
    where = f"[{address}]" if ":" in address else address
    print(f"{folder} at http://{where}:{number}/ (Ctrl-C ends it)", flush=True)
    web.run_app(application(folder, host), sock=opened, print=None, access_log=None)


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= MOST_PORTS:
        raise ConfigError(f"--port is {port}, but ports end at {MOST_PORTS}.", f"give another one: --port {PORT}")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        fix = "give another one: --port 0 takes any that is free"
        raise ConfigError(f"{host}, port {port} cannot be listened on: {error.strerror}.", fix) from None


def application(folder: Path, host: str = LOOPBACK) -> web.Application:
    """The server's pages. `host` is a name of this machine, besides localhost and addresses, that may be asked for."""
    app = web.Application(middlewares=[_guarded], client_max_size=0)
    app[OUTPUTS] = Outputs(folder.resolve())
    app[NAMES] = frozenset({"localhost", host.lower()})
    for path, answer in (
        ("/", _all),
        ("/run/{name:.+}", _run),
        ("/study/{name:.+}", _study),
        ("/log/{number:[0-9]+}/{name:.+}", _log),
    ):
        app.router.add_get(path, answer, allow_head=False)
    return app


@web.middleware
async def _guarded(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    if not _is_ours(request.host, request.app[NAMES]):
        answer: web.StreamResponse = web.Response(status=421, text="This server has no such name.\n")
    else:
        try:
            answer = await handler(request)
        except web.HTTPException as refused:
            answer = web.Response(status=refused.status, text=f"{refused.status}: {refused.reason}\n")
        except ImproveError as error:
            answer = web.Response(status=500, text=f"{error}\n")
    answer.headers.update(HEADERS)
    return answer


def _is_ours(host: str, names: frozenset[str]) -> bool:
    """Whether a Host header names this server as its user would: a stranger's name could be made to point here."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return False
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name in names
    return True


async def _answer(request: web.Request, version: str, make: Callable[[str], str]) -> web.Response:
    """The page, unless the browser has it in this version."""
    tag = f'"{hashlib.sha256(version.encode()).hexdigest()[:16]}"'
    if request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers={"ETag": tag})
    page = await asyncio.to_thread(make, tag)
    return web.Response(text=page, content_type="text/html", headers={"ETag": tag})


async def _all(request: web.Request) -> web.Response:
    outputs = request.app[OUTPUTS]
    seen = await asyncio.to_thread(outputs.runs)
    return await _answer(request, _versions(seen), lambda tag: listing(outputs.folder, seen, tag))


def _versions(seen: list[Seen]) -> str:
    return " ".join(f"{one.name} {one.version} {one.state}" for one in seen)


async def _found(request: web.Request) -> Seen:
    seen = await asyncio.to_thread(request.app[OUTPUTS].find, request.match_info["name"])
    if seen is None:
        raise web.HTTPNotFound
    return seen


async def _run(request: web.Request) -> web.Response:
    seen = await _found(request)

    def page(tag: str) -> str:
        return run_page(History.read(seen.folder), seen.folder, Live(tag, seen.state, seen.name, seen.state == RUNNING))

    return await _answer(request, seen.page_version, page)


async def _study(request: web.Request) -> web.Response:
    name = request.match_info["name"]
    seen = await asyncio.to_thread(request.app[OUTPUTS].runs)
    own = [one for one in seen if one.run and one.run.study == name]
    if not own:
        raise web.HTTPNotFound
    links = {one.folder: run_link(one.name) for one in own}
    runs = [one.run for one in own if one.run]
    return await _answer(
        request, _versions(own), lambda tag: study_page(runs, lambda run: links[run.folder], Live(tag))
    )


async def _log(request: web.Request) -> web.Response:
    """The end of a training's log, as plain text."""
    seen = await _found(request)
    name = f"candidates/{int(request.match_info['number']):03d}/log.txt"
    text = await asyncio.to_thread(RunFiles(seen.folder).tail, name, LOG_BYTES)
    if text is None:
        raise web.HTTPNotFound
    return web.Response(text=clean(last_overwritten(text)), content_type="text/plain", charset="utf-8")
