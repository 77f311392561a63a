"""How fast the network is that the sandboxes of a training on several nodes have (`executor.num_nodes`).

    python -m benchmarks.network [--mb N]

Two sandboxes on this machine, whose stations are in this process: MB/s of one stream, the time of a message of one byte
there and back, and the processor time that this process has spent on the stream, as cores.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from improve.execution.cluster.network import address
from tests.support.members import Member, meet, talkers

TURNS = 200
CHUNK = 1 << 20
SERVE = "server = socket.create_server(('{}', {})); say('there'); end, _ = server.accept()"
ECHO = f"[end.sendall(end.recv(1)) for _ in range({TURNS})]"
TAKE = "got = 0\nwhile got < {}: got += len(end.recv(1 << 20))"
ONCE = "exec({!r}); say(got)"
REACH = (
    "import time; end = socket.create_connection(('{}', {})); end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)"
)
TURN = f"began = time.monotonic(); [(end.sendall(b'1'), end.recv(1)) for _ in range({TURNS})]"
SEND = f"began = time.monotonic(); [end.sendall(bytes({CHUNK})) for _ in range({{}})]; say(time.monotonic() - began)"


def measured(server: Member, client: Member, host: str, megabytes: int) -> tuple[float, float, float]:
    """Seconds of a byte there and back, of the whole, and of them those of processors here."""
    server.ask(SERVE.format(host, 5000))
    client.tell(REACH.format(host, 5000))
    server.tell(ECHO)
    (turns,) = client.ask(f"{TURN}; say(time.monotonic() - began)")
    began, used = time.monotonic(), time.process_time()
    server.tell(ONCE.format(TAKE.format(megabytes * CHUNK)))
    client.ask(SEND.format(megabytes))
    server.heard()
    return turns / TURNS, time.monotonic() - began, time.process_time() - used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--mb", type=int, default=500, help="MiB that are sent")
    megabytes = parser.parse_args().mb
    with tempfile.TemporaryDirectory() as folder, talkers(Path(folder)) as zygote:
        members = [Member(zygote, Path(folder) / str(node), node) for node in range(2)]
        try:
            meet(members)
            turn, whole, here = measured(members[0], members[1], address(0), megabytes)
        finally:
            for member in members:
                member.close()
    rate = megabytes * CHUNK / 1e6 / whole
    print(f"{rate:.0f} MB/s, a byte there and back {turn * 1e3:.2f} ms, {here / whole:.2f} cores here")


if __name__ == "__main__":
    main()
