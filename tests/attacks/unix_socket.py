"""Connects to a unix socket outside, as a desktop's or a container engine's control socket is."""

import json
import os
import socket
import sys

EXPECT = {"naive": "through", "T0": "through", "T1": "denied", "T3": "denied"}

world = json.loads(sys.argv[1])
link = os.path.join(world["work"], "link")
os.symlink(world["unix"], link)
through = False
for path in (world["unix"], link, "\0" + world["abstract"]):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        try:
            with socket.socket(socket.AF_UNIX, kind) as client:
                client.connect(path)
                client.send(b"run this for me")
                through = True
        except OSError:
            continue
print(json.dumps({"through": through}))
