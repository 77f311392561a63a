"""Connects to a TCP port of the machine."""

import json
import socket
import sys

EXPECT = {"naive": "through", "T0": "through", "T1": "denied", "T3": "denied"}

world = json.loads(sys.argv[1])
try:
    socket.create_connection(("127.0.0.1", world["tcp"]), timeout=2).close()
    through = True
except OSError:
    through = False
print(json.dumps({"through": through}))
