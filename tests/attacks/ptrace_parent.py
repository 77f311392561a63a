"""Attaches to the parent as a debugger, and reads its memory."""

import ctypes
import json
import os
import sys

EXPECT = {"naive": "through", "T0": "denied", "T1": "denied", "T3": "denied"}
NEEDS = "ptrace"

world = json.loads(sys.argv[1])
libc = ctypes.CDLL(None)
through = libc.ptrace(0x4206, world["parent"], None, None) == 0  # PTRACE_SEIZE
try:
    os.close(os.open(f"/proc/{world['parent']}/mem", os.O_RDONLY))
    through = True
except OSError:
    pass
print(json.dumps({"through": through}))
