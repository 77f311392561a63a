"""Changes the flags and the version of a file that it may only read: both stay when the sandbox is gone."""

import fcntl
import json
import os
import struct
import sys

EXPECT = {"naive": "through", "T0": "through", "T1": "denied", "T3": "denied"}
NEEDS = "file_flags"

world = json.loads(sys.argv[1])
SET_FLAGS, SET_VERSION, NODUMP = 0x40086602, 0x40087602, 0x40
descriptor = os.open(world["template"], os.O_RDONLY)
through = False
for request, value in ((SET_FLAGS, NODUMP), (SET_VERSION, 7)):
    try:
        fcntl.ioctl(descriptor, request, struct.pack("Q", value))
        through = True
    except OSError:
        continue
print(json.dumps({"through": through}))
