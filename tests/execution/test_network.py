"""The network that sandboxes of several nodes have for themselves: real devices, and stations' ends that meet here."""

from __future__ import annotations

import errno
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from improve.errors import SandboxError
from improve.execution.cluster import network
from improve.execution.cluster.network import Peers, Together, Unreachable, address
from improve.sandbox import Launch, Limits, Zygote
from improve.sandbox.guarded import LandlockSandbox
from tests.support.device import needs_device
from tests.support.members import KEY, LIMITS, Member, meet, talkers
from tests.support.ordinary import ordinary_user
from tests.support.paths import ROOT

pytestmark = needs_device


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    with talkers(tmp_path_factory.mktemp("module")) as made:
        yield made


@pytest.fixture
def members(zygote: Zygote, tmp_path: Path) -> Iterator[list[Member]]:
    made = [Member(zygote, tmp_path / f"{node}", node) for node in range(3)]
    meet(made)
    yield made
    for member in made:
        member.close()


SERVE = "server = socket.create_server(('{}', 5000)); say('there')"
ECHO = "end, who = server.accept(); got = end.makefile('rb').read({}); end.sendall(got[::-1]); say(who[0], len(got))"
SEND = "end = socket.create_connection(('{}', 5000), 20); end.sendall({}); say(end.makefile('rb').read({}).decode())"


def test_sandboxes_of_several_nodes_reach_each_other(members: list[Member]) -> None:
    for server, client in ((0, 1), (1, 2), (2, 0)):
        assert members[server].ask(SERVE.format(address(server))) == ["there"]
        members[server].tell(ECHO.format(5))
        assert members[client].ask(SEND.format(address(server), b"hello", 5)) == ["olleh"]
        assert members[server].heard() == [address(client), 5]


def test_a_large_message_comes_whole(members: list[Member]) -> None:
    size = 20_000_000
    assert members[0].ask(SERVE.format(address(0))) == ["there"]
    members[0].tell("import hashlib; end, _ = server.accept(); got = end.makefile('rb').read()")
    members[0].tell("say(len(got), hashlib.sha256(got).hexdigest())")
    members[1].tell(f"import hashlib; sent = os.urandom({size})")
    members[1].tell(f"end = socket.create_connection(('{address(0)}', 5000))")
    members[1].tell("end.sendall(sent); end.close(); say(len(sent), hashlib.sha256(sent).hexdigest())")
    assert members[1].heard() == members[0].heard()


def test_nothing_else_is_in_reach(members: list[Member]) -> None:
    """Neither this machine by any of its addresses, nor what listens on it, nor the world, nor more devices."""
    own = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    with socket.create_server(("0.0.0.0", 0)) as server:
        port = server.getsockname()[1]
        for host in sorted({"127.0.0.1", "10.0.0.200", "192.0.2.1", "10.0.1.1", *map(str, own)}):
            tried = f"import errno; one = socket.socket(); one.settimeout(0.5); say(one.connect_ex(('{host}', {port})))"
            (code,) = members[0].ask(tried)
            # ECONNREFUSED is the sandbox's own loopback; EAGAIN: nobody answers
            assert code in (errno.ENETUNREACH, errno.ECONNREFUSED, errno.EAGAIN, errno.EHOSTUNREACH), (host, code)
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()
    found = members[0].ask("say(sorted(name for _, name in socket.if_nameindex()))")
    assert found == [["lo", "nodes"]]
    assert members[0].ask("socket.socket(socket.AF_INET, socket.SOCK_DGRAM)") == ["error", errno.EPERM]
    assert members[0].ask("socket.socket(socket.AF_INET, socket.SOCK_RAW, 6)") == ["error", errno.EPERM]
    assert members[0].ask("socket.socket(socket.AF_PACKET, socket.SOCK_RAW)")[0] == "error"
    assert members[0].ask("os.open('/dev/net/tun', os.O_RDWR)") == ["error", errno.ENOENT]
    change = "import fcntl; fcntl.ioctl(socket.socket(), 0x8916, b'nodes'.ljust(40, b'0'))"
    assert members[0].ask(change)[0] == "error"


def test_a_packet_goes_on_only_between_those_whom_it_names() -> None:
    own, other, third = (socket.inet_aton(address(node)) for node in range(3))

    def packet(source: bytes, target: bytes, version: int = 4) -> bytes:
        return struct.pack("!B11x4s4s", version << 4 | 5, source, target)

    assert network._is_between(packet(own, other), own, other)
    for wrong in (packet(third, other), packet(own, third), packet(own, other, 6), packet(own, other)[:19], b""):
        assert not network._is_between(wrong, own, other)


@given(st.binary(max_size=60))
def test_no_bytes_are_taken_for_a_packet_of_others(content: bytes) -> None:
    own, other = socket.inet_aton(address(0)), socket.inet_aton(address(1))
    if network._is_between(content, own, other):
        assert content[12:20] == own + other


def test_who_goes_without_a_word_is_noticed_and_who_says_so_is_not(members: list[Member]) -> None:
    leaving = threading.Thread(target=members[1].peers.leave, args=[0.1])
    leaving.start()
    leaving.join()
    members[1].close()
    time.sleep(0.3)
    assert not members[0].lost.is_set()
    members[2].close()
    assert members[0].lost.wait(10)
    assert members[0].peers.trouble.startswith(f"the way to {address(2)} has ended")


def test_all_that_was_sent_before_an_end_arrives(members: list[Member]) -> None:
    """Also what still was on its way when the program had ended."""
    assert members[0].ask(SERVE.format(address(0))) == ["there"]
    members[0].tell("end, _ = server.accept(); got = end.makefile('rb').read(); say(len(got))")
    end = f"one = socket.create_connection(('{address(0)}', 5000)); one.sendall(bytes(3_000_000)); os._exit(0)"
    members[1].tell(end)
    assert members[1].confined.wait(20) == 0
    members[1].peers.leave(1.0)
    members[1].close()
    assert members[0].heard() == [3_000_000]


def test_who_does_not_know_the_key_is_not_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "GREETING_SECONDS", 1.0)
    first = Peers("127.0.0.1")
    places = (("127.0.0.1", first.port), ("127.0.0.1", 1))
    failed: list[Exception] = []

    def wait() -> None:
        try:
            first.join(Together(places, KEY), 0, lambda: None, time.monotonic() + 3)
        except Unreachable as error:
            failed.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    with pytest.raises((AuthenticationError, EOFError, OSError)):
        Client(places[0], authkey=b"another")
    silent = socket.create_connection(places[0])  # and one that says nothing does not keep others out for long
    waiting.join()
    silent.close()
    assert "not all nodes" in str(failed[0])
    first.close()
    with pytest.raises(Unreachable, match="cannot be reached"):
        Peers("127.0.0.1").join(Together((("127.0.0.1", 1), places[0]), KEY, 1), 0, lambda: None, time.monotonic() + 1)


def test_a_weaker_sandbox_has_no_such_network(zygote: Zygote, tmp_path: Path) -> None:
    launch = Launch(work=tmp_path, cwd=tmp_path, limits=Limits(**{**vars(LIMITS), "address": address(0)}))
    with pytest.raises(ValueError, match="T1 has no network"):
        LandlockSandbox().fork(zygote, launch)


def test_a_machine_without_the_device_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "DEVICE", "/dev/net/nothing")
    with pytest.raises(SandboxError, match=r"/dev/net/nothing, by which .* cannot be opened: No such file"):
        network.require_device()


@pytest.mark.slow
def test_all_this_holds_for_an_ordinary_user(tmp_path: Path) -> None:
    """Who makes the device then has no privilege but in the sandbox's own namespaces."""
    with ordinary_user() as user:
        options = ["-q", "-x", "-p", "no:cacheprovider", f"--basetemp={user.home}/tests"]
        done = subprocess.run(
            user.command(sys.executable, "-m", "pytest", *options, "tests/execution/test_network.py"),
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr
        assert "skipped" not in done.stdout
