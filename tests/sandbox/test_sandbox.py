"""What the executor relies on, in every tier: the same paths, descriptors, limits and ends."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from improve.errors import SandboxError
from improve.sandbox import Confined, Launch, Limits, Sandbox, Tier, choose, remove, usage
from improve.sandbox.choose import prove
from improve.sandbox.guarded import LandlockSandbox, PlainSandbox
from improve.sandbox.tier3 import BubblewrapSandbox
from tests.support.paths import ROOT

LIMITS = Limits(memory_bytes=2 << 30, disk_bytes=64 << 20, output_bytes=10_000, processes=32)
SANDBOXES: dict[str, Callable[[], Sandbox]] = {"T3": BubblewrapSandbox, "T1": LandlockSandbox, "T0": PlainSandbox}

Start = Callable[..., Confined]


@pytest.fixture(params=SANDBOXES)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    return SANDBOXES[request.param]()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def start(sandbox: Sandbox, work: Path, tmp_path: Path) -> Start:
    """Start a piece of Python in the sandbox, with `work` writable; further keywords go to its `Launch`."""

    def begin(code: str, *arguments: str, log: Path = tmp_path / "log", **options: object) -> Confined:
        settings: dict[str, object] = {"writable": [work], "cwd": work, "limits": LIMITS}
        argv = [sys.executable, "-c", code, *arguments]
        return sandbox.start(Launch(argv=argv, **{**settings, **options}), log)  # type: ignore[arg-type]

    return begin


def run(confined: Confined, log: Path, seconds: float = 30) -> tuple[int | None, str]:
    """Wait for the end: exit code and log."""
    with confined:
        code = confined.wait(seconds)
    return code, log.read_text()


def test_commands_go_in_by_stdin_and_results_come_out_by_an_inherited_pipe(start: Start, work: Path) -> None:
    source, sink = os.pipe()
    code = "import os,sys\nfor line in sys.stdin: os.write(int(sys.argv[1]), line.upper().encode())"
    with os.fdopen(source, "rb") as results, start(code, str(sink), pass_fds=[sink]) as confined:
        os.close(sink)
        confined.stdin.write(b"hello\n")
        assert results.readline() == b"HELLO\n"
        assert confined.poll() is None
        confined.stdin.close()
        assert confined.wait(10) == 0
        assert results.read() == b""  # nobody else holds the pipe


def test_environment_and_descriptors_are_exactly_those_given(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_API_KEY", "sk-1")
    leak = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(leak, True)
    code = (
        "import json,os\n"
        "fds = [n for n in range(256) if os.path.exists(f'/proc/self/fd/{n}')]\n"
        "print(json.dumps([dict(os.environ), fds, os.getcwd()]))"
    )
    _, said = run(start(code, env={"A": "1", "LC_ALL": "C.UTF-8"}), tmp_path / "log")
    os.close(leak)
    env, descriptors, cwd = json.loads(said)
    scratch = env["TMPDIR"]
    assert env == {
        "A": "1",
        "LC_ALL": "C.UTF-8",
        "TMPDIR": scratch,
        "HOME": scratch,
        "XDG_CACHE_HOME": f"{scratch}/.cache",
    }
    assert descriptors == [0, 1, 2]
    assert cwd == str(tmp_path / "work")


def test_what_is_written_stays_and_scratch_goes(start: Start, work: Path, tmp_path: Path) -> None:
    code = "import os,tempfile\nopen('kept','w').write('x')\nprint(tempfile.mkdtemp())"
    exit_code, said = run(start(code), tmp_path / "log")
    assert exit_code == 0
    assert (work / "kept").read_text() == "x"
    assert not Path(said.strip()).exists()
    assert not Path(said.strip()).parent.exists() or str(Path(said.strip()).parent) == "/tmp"


def test_readable_folders_may_be_filled_after_the_start(start: Start, tmp_path: Path) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    code = "import sys\nprint(open(sys.stdin.readline().strip()).read())"
    with start(code, readable=[inputs]) as confined:
        (inputs / "late").write_text("filled later")
        confined.stdin.write(f"{inputs}/late\n".encode())
        assert confined.wait(10) == 0
    assert (tmp_path / "log").read_text() == "filled later\n"


def test_long_output_is_cut_and_says_so(start: Start, tmp_path: Path) -> None:
    code = "import sys\nsys.stdout.write('a' * 8000)\nsys.stdout.flush()\nsys.stderr.write('b' * 8000)"
    _, said = run(start(code), tmp_path / "log")
    assert said == "a" * 8000 + "b" * 2000 + "\n[6000 more bytes of output were dropped]\n"


@pytest.mark.parametrize(
    ("code", "expected"),
    [("raise SystemExit(3)", 3), ("import os; os.abort()", 128 + signal.SIGABRT), ("import os; os._exit(1)", 1)],
)
def test_exit_codes(start: Start, code: str, expected: int) -> None:
    with start(code) as confined:
        assert confined.wait(10) == expected


def test_limits_of_the_kernel_are_set_inside(start: Start, tmp_path: Path) -> None:
    code = (
        "import resource as r,json\n"
        "print(json.dumps([r.getrlimit(r.RLIMIT_CORE)[1], r.getrlimit(r.RLIMIT_FSIZE)[1],"
        " int(open('/proc/self/oom_score_adj').read())]))"
    )
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    _, said = run(start(code), tmp_path / "log")
    assert json.loads(said) == [0, LIMITS.disk_bytes, 1000]
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == before


def test_privileges_are_gone(start: Start, tmp_path: Path) -> None:
    code = "print(*[l.split()[1] for l in open('/proc/self/status') if l[:6] in ('CapEff', 'CapBnd', 'NoNewP')])"
    _, said = run(start(code), tmp_path / "log")
    effective, bounding, no_new_privileges = said.split()
    assert int(effective, 16) == 0
    assert no_new_privileges == "1"
    if os.geteuid() == 0:
        assert int(bounding, 16) == 0


def test_kill_ends_daemons_too_and_may_be_repeated(start: Start, work: Path) -> None:
    code = (
        "import os,time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        while True:\n"
        "            open('tick', 'w').close(); time.sleep(0.01)\n"
        "    os._exit(0)\n"
        "time.sleep(60)"
    )
    confined = start(code)
    deadline = time.monotonic() + 10
    while not (work / "tick").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    confined.kill()
    (work / "tick").unlink()
    time.sleep(0.1)
    assert not (work / "tick").exists()
    confined.kill()
    assert confined.poll() == 137
    assert confined.killed_for is None


def test_all_ends_when_the_parent_is_killed(sandbox: Sandbox, work: Path) -> None:
    name = next(name for name, kind in SANDBOXES.items() if type(sandbox) is kind)
    code = f"""
import sys, time
from pathlib import Path
from tests.sandbox.test_sandbox import LIMITS, SANDBOXES, Launch
work = Path({str(work)!r})
inner = "import time\\nwhile True: open('tick','w').close(); time.sleep(0.01)"
SANDBOXES[{name!r}]().start(Launch(argv=[sys.executable, "-c", inner], writable=[work], cwd=work, limits=LIMITS))
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as parent:
        deadline = time.monotonic() + 20
        while not (work / "tick").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        parent.kill()
    time.sleep(0.5)
    (work / "tick").unlink()
    time.sleep(0.2)
    assert not (work / "tick").exists()


def test_a_sandbox_outlives_the_thread_that_started_it(start: Start) -> None:
    started: list[Confined] = []
    thread = threading.Thread(target=lambda: started.append(start("input()")))
    thread.start()
    thread.join()
    time.sleep(0.2)
    with started[0] as confined:
        assert confined.poll() is None
        confined.stdin.write(b"\n")
        assert confined.wait(10) == 0


def test_several_at_once_do_not_disturb_each_other(start: Start, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(start("input(); print('done')", log=tmp_path / f"log{n}")) for n in range(3)]
        running[0].kill()
        running[1].stdin.write(b"\n")
        assert running[1].wait(10) == 0
        assert running[2].poll() is None
    assert [(tmp_path / f"log{n}").read_text() for n in range(3)] == ["", "done\n", ""]


def test_workers_can_pass_descriptors_over_unix_sockets(start: Start, tmp_path: Path) -> None:
    """What torch's DataLoader does under the hood: fork, semaphores in /dev/shm, and a socket to fetch a file by."""
    code = """
import multiprocessing as mp, os, tempfile
from multiprocessing import reduction, shared_memory
def work(queue):
    memory = shared_memory.SharedMemory("m" + str(os.getppid()))
    file = tempfile.TemporaryFile()
    file.write(bytes(memory.buf[:4])); file.flush()
    queue.put(reduction.DupFd(file.fileno())); queue.close()
    done.wait(10)
context = mp.get_context("fork")
memory = shared_memory.SharedMemory("m" + str(os.getpid()), create=True, size=4)
memory.buf[:4] = b"ping"
queue, done = context.Queue(), context.Event()
process = context.Process(target=work, args=(queue,)); process.start()
print(os.pread(queue.get(timeout=10).detach(), 4, 0).decode())
done.set(); process.join(10)
hung = context.Process(target=__import__("time").sleep, args=(60,)); hung.start()
hung.terminate(); hung.join(10); print(hung.exitcode)
memory.close(); memory.unlink()
"""
    assert run(start(code), tmp_path / "log") == (0, "ping\n-15\n")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("sandbox", ["T3", "T1"], indirect=True)
def test_torch_loads_data_in_workers(start: Start, tmp_path: Path) -> None:
    code = """
import torch
from torch.utils.data import DataLoader, TensorDataset
torch.set_num_threads(2)
batches = DataLoader(TensorDataset(torch.arange(40.0).repeat(1000, 1)), batch_size=100, num_workers=2)
model = torch.nn.Linear(40, 2)
print(sum(model(x).shape[0] for x, in batches))
torch.save(model.state_dict(), "model.pt")
"""
    assert run(start(code, env={"OMP_NUM_THREADS": "2"}), tmp_path / "log", 100) == (0, "1000\n")


def test_a_missing_program_is_an_error_with_its_name(start: Start, sandbox: Sandbox, work: Path) -> None:
    try:
        launch = Launch(argv=["/nowhere/program"], writable=[work], cwd=work, limits=LIMITS)
        with sandbox.start(launch, work / "../log") as confined:
            assert confined.wait(10) == 127
        said = (work / "../log").read_text()
    except SandboxError as problem:
        said = str(problem)
    assert "No such file" in said or "not found" in said


def test_paths_are_checked_before_anything_starts(start: Start, work: Path, tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="does not exist"):
        start("", readable=[tmp_path / "missing"])
    (work / "inner").mkdir()
    with pytest.raises(ValueError, match="lies in the writable"):
        start("", readable=[work / "inner"])
    with pytest.raises(ValueError, match="not absolute"):
        start("", readable=[Path("relative")])


@pytest.mark.skipif(os.geteuid() != 0, reason="another user runs generated code only below root")
def test_a_closed_folder_is_refused_with_the_fix(work: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    launch = Launch(argv=[sys.executable], readable=[closed], writable=[work], cwd=work, limits=LIMITS)
    with pytest.raises(SandboxError, match="chmod -R a\\+rX"):
        BubblewrapSandbox().start(launch)


@pytest.mark.parametrize("kind", [BubblewrapSandbox, LandlockSandbox, lambda: LandlockSandbox(1), PlainSandbox])
def test_the_self_check_holds(kind: Callable[[], Sandbox]) -> None:
    assert prove(kind()) is None


def test_the_self_check_finds_a_sandbox_that_leaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PlainSandbox, "tier", Tier.T1)
    problem = prove(PlainSandbox())
    assert problem is not None
    for hole in ("outside", "inet", "signal", "secret"):
        assert hole in problem.what


def test_choice_without_bubblewrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for program in ("sleep", "rm", "prlimit", "setpriv"):
        (tmp_path / program).symlink_to(f"/usr/bin/{program}")
    with pytest.raises(SandboxError, match="apt-get install bubblewrap"):
        choose("require")
    chosen = choose("auto")
    assert chosen.tier is Tier.T1
    assert chosen.tier.verified
    assert "apt-get install bubblewrap" in chosen.how_to_improve


def test_off_warns(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        chosen = choose("off")
    assert chosen.tier is Tier.T0
    assert not chosen.tier.verified
    assert "NOT confined" in caplog.text
    with pytest.raises(ValueError, match="perhaps"):
        choose("perhaps")


def test_disk_counts_small_and_sparse_files_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to("/usr")
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(1 << 30)
    assert usage.disk([tmp_path]) == 3 * 4096
    assert usage.disk([tmp_path / "missing"]) == 0


def test_remove_takes_closed_and_deep_folders_and_leaves_targets(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "kept").touch()
    folder = tmp_path / "folder"
    (folder / "closed/inner").mkdir(parents=True)
    (folder / "link").symlink_to(target)
    (folder / "closed").chmod(0)
    remove(folder)
    assert not folder.exists()
    assert (target / "kept").exists()
    remove(folder)
