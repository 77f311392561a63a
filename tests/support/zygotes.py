"""`python -I -S -B zygotes.py FD FOLDER`: imports once what a zygote imports, and is a new zygote for whoever asks.

The first message on the socket FD is the plan of `guard.zygote`; each later one brings the control socket of a zygote,
which is a fork of this process: many runs can then start without importing torch each.
"""

import json
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

requests = socket.socket(fileno=int(sys.argv[1]))
sys.path.append(sys.argv[2])

from guard import zygote  # type: ignore[import-not-found]  # noqa: E402  # of improve/sandbox

program = zygote._imported(json.loads(requests.recv(zygote.LARGEST)))
signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def imported(plan: Any) -> Any:
    sys.argv = [plan["module"]]
    return program


while True:
    message, (*controls,), _, _ = socket.recv_fds(requests, 1, 1)
    if not message:
        break
    if os.fork() == 0:
        requests.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        zygote._imported = imported
        sys.argv = ["", str(controls[0])]
        with suppress(ConnectionError):  # whoever asked was killed
            zygote.main()
        break
    os.close(controls[0])
