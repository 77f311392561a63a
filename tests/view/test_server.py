"""The server of `improve view`: what it shows, what it refuses, and that a page follows its run in a real browser."""

from __future__ import annotations

import asyncio
import dataclasses
import fcntl
import html
import http.client
import os
import platform
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from improve.cli import main
from improve.record.journal import JOURNAL, LOCK, lines, read
from improve.view.outputs import Outputs
from improve.view.server import application
from tests.report.test_browser import CHROMIUM, opened_at, title, width_on_a_phone
from tests.report.test_page import POISON, Page
from tests.support.made_run import Maker
from tests.support.made_study import trials

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine to open the page in")


@contextmanager
def serving(folder: Path, answered: Callable[[], object] = lambda: None) -> Iterator[int]:
    """The port of a server of that folder, in a thread; `answered` is called when the first page of a run is made."""
    loop = asyncio.new_event_loop()
    app = application(folder)
    pending = [answered]

    async def prepared(request: web.Request, response: web.StreamResponse) -> None:
        if request.path.startswith("/run/") and pending:
            pending.pop()()

    app.on_response_prepare.append(prepared)
    runner = web.AppRunner(app)

    async def start() -> int:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return int(runner.addresses[0][1])

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, str, dict[str, str]]:
    """Status, text and headers of an answer; the path is sent as it is, which no tidy client would do."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text, dict(answer.getheaders())


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outputs")
    Maker(folder / "one run", classes=40).write()
    trials(folder, "table4", [0.5, 0.6, None], llm="o1", dataset="cifar10")
    (folder / "beginning").mkdir()
    (folder / "beginning" / JOURNAL).touch()
    (folder / "secret.txt").write_text("TOP SECRET")
    return folder


@pytest.fixture(scope="module")
def port(outputs: Path) -> Iterator[int]:
    with serving(outputs) as number:
        yield number


def test_the_list_shows_each_run_with_its_state(port: int) -> None:
    status, text, _ = ask(port, "/")
    page = Page(text)
    assert status == 200
    links = [str(link.get("href")) for link in page.all("a")]
    assert "/run/one%20run" in links
    assert "/study/table4" in links
    assert sum(link.startswith("/run/table4/cifar10-") for link in links) == 3
    rows = re.findall(r'<tr class="run">.*?</tr>', text, re.DOTALL)
    states = [re.findall(r'class="state (\w+)"', row)[0] for row in rows]
    assert sorted(states) == ["failed", "finished", "finished", "finished", "unreadable"]
    assert "59.7% → 81.5%" in page.text


def test_the_pages_of_runs_and_studies_are_those_of_the_report(port: int) -> None:
    text = Page(ask(port, "/run/one%20run")[1]).text
    assert "from 59.7% to 81.5% correct" in text
    assert "You are the model_engineer" in text
    study = Page(ask(port, "/study/table4")[1])
    assert "0.5500 ± 0.0707" in study.text
    assert any(str(link.get("href")).startswith("/run/table4/") for link in study.all("a"))
    status, log, headers = ask(port, "/log/3/one%20run")
    assert (status, headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert "epoch 12/12" in log


def test_a_page_is_made_again_only_when_its_run_has_changed(tmp_path: Path) -> None:
    folder = Maker(tmp_path / "run", classes=3).write("verdict-2")
    with serving(tmp_path) as number:
        _, before, headers = ask(number, "/run/run")
        tag = headers["ETag"]
        assert html.unescape(re.findall(r'data-tag="([^"]*)"', before)[0]) == tag
        assert ask(number, "/run/run", If_None_Match=tag)[:2] == (304, "")
        (folder / "candidates" / "002" / "log.txt").write_text("one more line")
        assert ask(number, "/run/run", If_None_Match=tag)[0] == 200
        assert ask(number, "/", If_None_Match=ask(number, "/")[2]["ETag"])[0] == 304


def test_a_run_is_running_while_its_process_holds_its_folder(tmp_path: Path) -> None:
    folder = Maker(tmp_path / "run", classes=3).write("verdict-2")
    seen = Outputs(tmp_path)
    assert [one.state for one in seen.runs()] == ["stopped"]
    with open(folder / LOCK, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert [one.state for one in seen.runs()] == ["running"]
    assert [one.state for one in seen.runs()] == ["stopped"]


def test_a_run_of_another_machine_is_running_while_it_writes(tmp_path: Path) -> None:
    """On a shared file system, whose locks of other machines nobody can list."""
    folder = Maker(tmp_path / "run", classes=3).write("verdict-2")
    seen = Outputs(tmp_path)
    (folder / LOCK).write_text("process 7 on another.example.org")
    assert [one.state for one in seen.runs()] == ["running"]
    for file in folder.rglob("*"):
        os.utime(file, (1, 1))
    assert [one.state for one in seen.runs()] == ["stopped"]
    (folder / "candidates" / "001" / "log.txt").write_text("one more line")
    assert [one.state for one in seen.runs()] == ["running"]
    (folder / LOCK).write_text(f"process 7 on {platform.node()}")
    assert [one.state for one in seen.runs()] == ["stopped"]
    (folder / LOCK).write_text("")
    assert [one.state for one in seen.runs()] == ["stopped"]


def test_the_page_follows_each_of_the_trainings_that_go_side_by_side(tmp_path: Path) -> None:
    maker = Maker(tmp_path / "run", classes=3)
    folder = maker.write("verdict-2")
    records = list(read(folder / JOURNAL).records)
    config = records[0].data["config"]
    config["strategy"]["candidates"] = 2
    records[0] = dataclasses.replace(records[0], data={**records[0].data, "config": config})
    (folder / JOURNAL).write_text("".join(lines(records)))
    (one,) = Outputs(tmp_path).runs()
    before = one.page_version
    (folder / "candidates" / "001" / "metrics.csv").write_text("one more validation")
    assert one.page_version != before


def test_a_page_says_whether_its_run_goes_on(tmp_path: Path) -> None:
    folder = Maker(tmp_path / "run", classes=3).write("verdict-2")
    with serving(tmp_path) as number:
        assert "This run is not finished" in Page(ask(number, "/run/run")[1]).text
        with open(folder / LOCK, "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            text = Page(ask(number, "/run/run")[1]).text
    assert "This run is going on: it is at iteration 2 of" in text
    assert "not finished" not in text


def test_signs_are_explained_where_they_occur(port: int, tmp_path: Path) -> None:
    assert "‡" not in Page(ask(port, "/")[1]).text
    Maker(tmp_path / "run", classes=3, verified=False).write()
    with serving(tmp_path) as number:
        text = Page(ask(number, "/")[1]).text
    assert "‡ unverified: generated code ran without isolation" in text
    assert "†" not in text


@pytest.mark.parametrize(
    "path",
    [
        "/run/../secret.txt", "/run/..%2fsecret.txt", "/run/%2e%2e/secret.txt", "/run/secret.txt", "/secret.txt",
        "/run//etc/passwd", "/run/one%20run/../../secret.txt", "/run/one%20run/journal.jsonl", "/run/one%20run%00",
        "/log/../one%20run", "/log/3/../secret.txt", "/log/-1/one%20run", "/log/%2e%2e%2f3/one%20run",
        "/log/999/one%20run", "/log/%D9%A3/one%20run", "/study/../secret.txt", "/study/nothing", "/run/",
    ],
)  # fmt: skip
def test_no_address_leads_out_of_the_runs(port: int, path: str) -> None:
    try:
        status, text, _ = ask(port, path)
    except (http.client.InvalidURL, UnicodeEncodeError):  # the client's own refusal of such a request
        return
    assert status in (400, 404)
    assert "TOP SECRET" not in text
    assert "root:" not in text


def test_a_log_that_generated_code_made_a_link_is_not_followed(tmp_path: Path) -> None:
    folder = Maker(tmp_path / "run", classes=3).write()
    log = folder / "candidates" / "003" / "log.txt"
    log.unlink()
    log.symlink_to("/etc/passwd")
    with serving(tmp_path) as number:
        assert ask(number, "/log/3/run")[0] == 404
        assert "root:" not in ask(number, "/run/run")[1]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE"])
def test_only_get_is_answered(port: int, method: str) -> None:
    assert ask(port, "/", method)[0] == 405


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("localhost:8008", True), ("127.0.0.1", True), ("[::1]:80", True), ("LOCALHOST", True),
        ("192.168.1.7:8008", True), ("evil.example", False), ("localhost.evil.example:8008", False), ("", False),
        ("127.0.0.1.evil.example", False), ("[::1", False), ("evil.example@localhost", True),
    ],
)  # fmt: skip
def test_a_name_that_was_made_to_point_here_is_not_answered(port: int, host: str, ours: bool) -> None:
    status, text, _ = ask(port, "/", Host=host)
    assert status in ((200,) if ours else (400, 421))
    assert ("one run" in text) is ours


def test_foreign_text_becomes_no_element_on_any_page(tmp_path: Path) -> None:
    Maker(tmp_path / "run", classes=3, poison=POISON, llm="m", usd=None).write()
    trials(tmp_path, POISON.replace("/", ""), [0.5, 0.6], dataset=POISON, llm=POISON)
    with serving(tmp_path) as number:
        links = re.findall(r'href="(/[^"]+)"', ask(number, "/")[1])
        pages = ["/", "/run/run", *(link for link in links if link.startswith("/study/"))]
        assert len(pages) == 3
        for path in pages:
            status, text, headers = ask(number, path)
            page = Page(text)
            assert status == 200, path
            assert len(page.all("script")) == 1
            assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
            assert "connect-src 'self'" in text
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize("given", [["nowhere"], [".", "--host", "no.such.host.invalid"], [".", "--port", "99999"]])
def test_what_cannot_be_served_is_refused(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["view", *given]) != 0
    assert "error:" in capsys.readouterr().err


@needs_browser
def test_a_page_takes_over_what_has_come(tmp_path: Path) -> None:
    """The page is opened when the run is in iteration 2; the rest comes while it is open."""
    whole = (Maker(tmp_path / "whole", classes=40).write() / JOURNAL).read_bytes()
    folder = Maker(tmp_path / "outputs" / "run", classes=40).write("verdict-2")
    with serving(tmp_path / "outputs", lambda: (folder / JOURNAL).write_bytes(whole)) as number:
        document, console = opened_at(f"http://127.0.0.1:{number}/run/run#iteration-1", tmp_path, budget=9000)
    assert [line for line in console if "favicon" not in line] == []
    assert "from 59.7% to 81.5% correct" in document
    # What the reader had unfolded stays so, and so does what was under way when it came.
    opened = re.findall(r'<details class="iteration \w+" id="iteration-(\d)" open="">', document)
    assert opened == ["1", "2"]
    assert len(re.findall(r'<details class="iteration ', document)) == 9


@needs_browser
def test_the_list_is_silent_and_nothing_foreign_runs(tmp_path: Path) -> None:
    trials(tmp_path, "s", [0.5, 0.6], dataset=POISON, llm=POISON)
    with serving(tmp_path) as number:
        document, console = opened_at(f"http://127.0.0.1:{number}/", tmp_path)
        page = tmp_path / "list.html"
        page.write_text(ask(number, "/")[1])
    assert [line for line in console if "favicon" not in line] == []
    assert title(document) == "2 runs · improve"
    assert width_on_a_phone(page, tmp_path) <= 375
