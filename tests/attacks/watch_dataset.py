"""Watches the user's own folder, to learn file names while the parent reads them."""

import ctypes
import json
import sys

EXPECT = {"naive": "through", "T0": "through", "T1": "denied", "T3": "denied"}

world = json.loads(sys.argv[1])
libc = ctypes.CDLL(None)
watch = libc.inotify_add_watch(libc.inotify_init(), world["dataset"].encode(), 0x20)
print(json.dumps({"through": watch >= 0}))
