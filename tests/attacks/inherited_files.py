"""Reads every file descriptor that the parent may have left open."""

import json
import os
import sys

EXPECT = {"naive": "through", "T0": "denied", "T1": "denied", "T3": "denied"}

world = json.loads(sys.argv[1])
found = b""
for descriptor in range(3, 256):
    try:
        found += os.pread(descriptor, 4096, 0)
    except OSError:
        continue
print(json.dumps({"through": world["token"].encode() in found}))
