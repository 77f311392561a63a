"""Reserves 1 GiB of disk in one call, which the size limit of a file does not count."""

import ctypes
import json
import os
import sys
import time

EXPECT = {"naive": "through", "T0": "disk", "T1": "denied", "T3": "denied"}

world = json.loads(sys.argv[1])
KEEP_SIZE, GIB = 1, 1 << 30
libc = ctypes.CDLL(None)
taken = 0
for number in range(4):
    with open(os.path.join(world["work"], f"reserved{number}"), "wb") as file:
        if libc.fallocate(file.fileno(), KEEP_SIZE, ctypes.c_long(0), ctypes.c_long(GIB >> 2)) != 0:
            break
        taken += os.fstat(file.fileno()).st_blocks * 512
time.sleep(1)
print(json.dumps({"through": taken > GIB >> 1}))
