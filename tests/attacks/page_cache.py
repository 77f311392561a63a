"""Asks which parts of a file that others read are in memory: a message from whoever has read them."""

import ctypes
import json
import mmap
import os
import sys

EXPECT = {"naive": "through", "T0": "through", "T1": "denied", "T3": "denied"}

world = json.loads(sys.argv[1])
descriptor = os.open(world["template"], os.O_RDONLY)
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
size = mmap.PAGESIZE
address = libc.mmap(None, ctypes.c_size_t(size), mmap.PROT_READ, mmap.MAP_SHARED, descriptor, ctypes.c_long(0))
through = libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), ctypes.create_string_buffer(16)) == 0
try:
    os.preadv(descriptor, [bytearray(4)], 0, os.RWF_NOWAIT)
    through = True
except OSError:
    pass
print(json.dumps({"through": through}))
