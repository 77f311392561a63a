"""Opens a VSOCK socket to the hypervisor, which no network namespace covers."""

import json
import socket

EXPECT = {"naive": "through", "T0": "through", "T1": "denied", "T3": "denied"}
NEEDS = "vsock"

try:
    socket.socket(40, socket.SOCK_STREAM).close()
    through = True
except OSError:
    through = False
print(json.dumps({"through": through}))
