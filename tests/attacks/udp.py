"""Sends a DNS query by UDP, the way in which names leak out."""

import json
import socket
import sys

EXPECT = {"naive": "through", "T0": "through", "T1": "denied", "T3": "denied"}

world = json.loads(sys.argv[1])
name = b"".join(bytes([len(part)]) + part for part in (world["token"].encode(), b"example", b"org"))
try:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"\x12\x34\x01\x00\x00\x01" + bytes(6) + name + b"\0\0\1\0\1", ("127.0.0.1", world["udp"]))
except OSError:
    pass
print(json.dumps({"through": None}))
