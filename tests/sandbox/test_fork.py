"""Sandboxes that are forks of a process which has imported its libraries: what they share, and what they must not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from improve.errors import SandboxError
from improve.sandbox import Confined, Launch, Limits, Sandbox, Zygote, usage
from improve.sandbox.guarded import LandlockSandbox, PlainSandbox
from improve.sandbox.tier3 import BubblewrapSandbox
from tests.support.members import LOOP

SANDBOXES: dict[str, Callable[[], Sandbox]] = {"T3": BubblewrapSandbox, "T1": LandlockSandbox, "T0": PlainSandbox}
LIMITS = Limits(memory_bytes=1 << 30, disk_bytes=32 << 20, output_bytes=10_000, processes=32)
MODULE = f"import json, os, sys\nimport numpy\nstate = []\n{LOOP}"
ENV = {"PATH": os.defpath, "OPENBLAS_NUM_THREADS": "1"}
Start = Callable[..., "Talk"]


class Talk:
    """A conversation with a fork."""

    def __init__(self, confined: Confined, answers: int) -> None:
        self.confined, self.answers = confined, os.fdopen(answers, "rb")

    def ask(self, code: str) -> Any:
        self.confined.stdin.write(code.encode() + b"\n")
        line = self.answers.readline()
        return json.loads(line) if line else None

    def close(self) -> None:
        self.confined.release()
        self.answers.close()


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("module")
    folder.chmod(0o755)
    (folder / "talker.py").write_text(MODULE)
    return folder


@pytest.fixture(scope="module")
def zygote(module: Path) -> Iterator[Zygote]:
    made = Zygote(module, "talker", ENV)
    yield made
    made.close()


@pytest.fixture(params=SANDBOXES)
def tier(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def start(tier: str, zygote: Zygote, tmp_path: Path) -> Iterator[Start]:
    running: list[Talk] = []
    work = tmp_path / "work"
    work.mkdir()

    def begin(limits: Limits = LIMITS) -> Talk:
        source, sink = os.pipe()
        launch = Launch(work=work, cwd=work, env={"A": "1"}, limits=limits)
        confined = SANDBOXES[tier]().fork(zygote, launch, tmp_path / "log", {3: sink})
        os.close(sink)
        running.append(Talk(confined, source))
        return running[-1]

    yield begin
    for talk in running:
        talk.close()
    assert not list(work.iterdir())


def test_a_fork_starts_like_a_program_of_its_own(start: Start, tmp_path: Path) -> None:
    talk = start()
    (found,) = talk.ask(
        "say([dict(os.environ), os.getcwd(), [n for n in range(99) if os.path.exists(f'/proc/self/fd/{n}')]])"
    )
    assert found[0] == {"A": "1", **{name: found[0][name] for name in ("TMPDIR", "HOME", "XDG_CACHE_HOME")}}
    assert found[1:] == [str(tmp_path / "work"), [0, 1, 2, 3]]
    status = "dict(line.split(':', 1) for line in open('/proc/self/status'))"
    (told,) = talk.ask(f"say({{k: v.split()[0] for k, v in {status}.items() if k in ('CapEff', 'NoNewPrivs', 'Uid')}})")
    assert (told["CapEff"], told["NoNewPrivs"]) == ("0" * 16, "1")
    assert talk.ask("say(open('/proc/self/oom_score_adj').read())") == ["1000\n"]
    assert talk.ask("import tempfile; say(tempfile.gettempdir() == os.environ['TMPDIR'])") == [True]
    assert talk.ask("print('printed', flush=True); os._exit(7)") is None
    assert talk.confined.wait(10) == 7
    talk.confined.kill()
    assert (tmp_path / "log").read_text() == "printed\n"


def test_forks_share_nothing_but_what_was_imported(start: Start) -> None:
    first, second = start(), start()
    assert first.ask("state.append(1); numpy.left = 1; open('left', 'w').close(); say(len(state))") == [1]
    for later in (second, start()):
        assert later.ask("say(state, hasattr(numpy, 'left'))") == [[], False]


def test_signals_end_codes_and_daemons(start: Start, tier: str) -> None:
    talk = start()
    (pid,) = talk.ask(
        "pid = os.fork() or (os.setsid(), os.fork() and os._exit(0), __import__('time').sleep(99)); say(pid)"
    )
    assert pid
    talk.confined.stdin.write(b"os.kill(os.getpid(), 11)\n")
    assert talk.confined.wait(20) == 128 + 11
    talk.confined.kill()
    assert talk.confined.poll() == 128 + 11


def test_kill_ends_all(start: Start) -> None:
    talk = start()
    talk.ask("os.fork() or __import__('time').sleep(99); say(1)")
    talk.confined.kill()
    assert talk.confined.poll() == 137


def test_files_of_the_work_folder_are_taken_as_bytes_and_no_link_is_followed(start: Start, tmp_path: Path) -> None:
    talk = start()
    talk.ask("open('file', 'w').write('content'); os.symlink('/etc/passwd', 'link'); os.mkfifo('pipe'); say(1)")
    talk.ask("os.mkdir('folder'); open('sparse', 'wb').truncate(20 << 20); os.link('file', 'again'); say(1)")
    talk.ask("open('closed', 'w').close(); os.chmod('closed', 0); say(1)")
    talk.confined.kill()
    talk.confined.take("file", tmp_path / "taken", 7)
    assert (tmp_path / "taken").read_text() == "content"
    for name, limit in (("link", 99), ("pipe", 99), ("folder", 99), ("sparse", 1 << 20), ("file", 6), ("missing", 99)):
        with pytest.raises(OSError, match=name):
            talk.confined.take(name, tmp_path / name, limit)
        assert not (tmp_path / name).exists()
    assert not list(tmp_path.glob("*.partial"))


FILL = {
    "one file": "f = open('big', 'wb'); [f.write(bytes(1 << 20)) for _ in range(500)]; f.flush()",
    "many files": "[open(f'f{n}', 'wb').write(b'1' * 100_000) for n in range(40_000)]",
    "a hole, mapped": "import mmap; f = open('m', 'wb+'); f.truncate(30 << 20); m = mmap.mmap(f.fileno(), 30 << 20); "
    "g = open('n', 'wb+'); g.truncate(30 << 20); k = mmap.mmap(g.fileno(), 30 << 20); m[:] = b'1' * (30 << 20); "
    "k[:] = b'1' * (30 << 20)",
    "no name": "f = os.open('.', os.O_TMPFILE | os.O_RDWR); [os.write(f, bytes(1 << 20)) for _ in range(500)]",
    "a copy in the kernel": "f = open('a', 'wb+'); f.truncate(30 << 20); "
    "[os.sendfile(os.open(f'c{n}', 65), f.fileno(), 0, 30 << 20) for n in range(130)]",
}


@pytest.mark.parametrize("tier", ["T3", "T1"], indirect=True)
@pytest.mark.parametrize("how", FILL)
def test_the_work_folder_takes_no_more_than_it_may(start: Start, tier: str, how: str, tmp_path: Path) -> None:
    """On T3 its file system ends; on T1 a watchdog ends the program soon after, most of what it would write unwritten.

    How soon is a matter of the machine's speed and load; each of these would write 0.5 to 4 GB.
    """
    talk = start()
    talk.confined.stdin.write(FILL[how].encode() + b"\nsay('done')\n")
    answer = talk.answers.readline()
    code = talk.confined.wait(30)
    held = usage.disk([tmp_path / "work"])
    talk.confined.kill()
    assert talk.confined.killed_for == "disk" or code == 128 + 7 or b"28" in answer or b"27" in answer, (answer, code)
    assert held <= (4096 if tier == "T3" else 2 << 30)


def test_what_cannot_be_imported_is_told_with_its_last_line(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("print('much')\nimport a_library_that_is_missing\n")
    zygote = Zygote(tmp_path, "broken", ENV)
    with pytest.raises(SandboxError, match="ModuleNotFoundError: No module named 'a_library_that_is_missing'"):
        zygote.wait()
    zygote.close()
    (tmp_path / "crashing.py").write_text("import os\nos._exit(3)\n")
    zygote = Zygote(tmp_path, "crashing", ENV)
    with pytest.raises(SandboxError, match="code 3"):
        zygote.wait()
    zygote.close()


def test_only_allowed_packages_can_be_imported(tmp_path: Path) -> None:
    for name in ("rich", "litellm", "improve"):
        (tmp_path / f"tries_{name}.py").write_text(f"import {name}\n")
        zygote = Zygote(tmp_path, f"tries_{name}", ENV)
        with pytest.raises(SandboxError, match=f"No module named '{name}'"):
            zygote.wait()
        zygote.close()


def test_all_ends_when_the_parent_is_killed(tier: str, module: Path, tmp_path: Path) -> None:
    code = f"""
import os, time
from pathlib import Path
from tests.sandbox.test_fork import ENV, LIMITS, SANDBOXES, Launch, Zygote
work = Path({str(tmp_path / "work")!r})
work.mkdir()
zygote = Zygote(Path({str(module)!r}), "talker", ENV)
confined = SANDBOXES[{tier!r}]().fork(zygote, Launch(work=work, cwd=work, limits=LIMITS), descriptors={{3: 1}})
confined.stdin.write(b"os.fork() or __import__('time').sleep(99); say('begun')\\n")
time.sleep(99)
"""
    root = Path(__file__).parent.parent.parent
    with subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline()
        below = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
    deadline = time.monotonic() + 20
    while any(process.is_running() and process.status() != "zombie" for process in below):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_shared_memory_of_a_run_that_was_killed_is_gone_before_the_next_sandbox(
    module: Path, zygote: Zygote, tmp_path: Path
) -> None:
    """On T1, whose /dev/shm is the machine's: parent, guard and program die at the same moment."""
    name = f"/dev/shm/left-{os.urandom(6).hex()}"
    code = f"""
import time
from pathlib import Path
from tests.sandbox.test_fork import ENV, LIMITS, LandlockSandbox, Launch, Zygote
work = Path({str(tmp_path / "first")!r})
work.mkdir()
launch = Launch(work=work, cwd=work, limits=LIMITS)
confined = LandlockSandbox().fork(Zygote(Path({str(module)!r}), "talker", ENV), launch, descriptors={{3: 1}})
confined.stdin.write(b"open({name!r}, 'w').write('stash'); say('begun')\\n")
time.sleep(99)
"""
    root = Path(__file__).parent.parent.parent
    with subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline()
        for process in [*psutil.Process(parent.pid).children(recursive=True), parent]:
            process.kill()
    assert os.path.exists(name)
    (tmp_path / "work").mkdir()
    source, sink = os.pipe()
    launch = Launch(work=tmp_path / "work", cwd=tmp_path, limits=LIMITS)
    with LandlockSandbox().fork(zygote, launch, descriptors={3: sink}) as confined:
        assert Talk(confined, source).ask(f"say(os.path.exists({name!r}))") == [False]
    os.close(sink)
    assert not os.path.exists(name)
