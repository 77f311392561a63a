"""Changes the address in memory while the guard looks at it, to be connected somewhere else."""

import ctypes
import json
import os
import socket
import struct
import sys
import threading
import time

EXPECT = {"naive": "through", "T0": "through", "T1": "denied", "T3": "denied"}

world = json.loads(sys.argv[1])
allowed = os.path.join(world["work"], "allowed")
listener = socket.socket(socket.AF_UNIX)
listener.bind(allowed)
listener.listen(512)
good, bad = (struct.pack("H", socket.AF_UNIX) + path.encode() + b"\0" for path in (allowed, world["unix"]))
address = ctypes.create_string_buffer(max(len(good), len(bad)))
running = True


def flip() -> None:
    while running:
        ctypes.memmove(address, good, len(good))
        ctypes.memmove(address, bad, len(bad))


def accept() -> None:
    while True:
        listener.accept()[0].close()


thread = threading.Thread(target=flip)
thread.start()
threading.Thread(target=accept, daemon=True).start()
libc = ctypes.CDLL(None)
end = time.monotonic() + 0.7
while time.monotonic() < end:
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        libc.connect(client.fileno(), address, len(address))
running = False
thread.join()
print(json.dumps({"through": None}))  # judged by whether the socket outside was reached
