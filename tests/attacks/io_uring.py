"""Sets up an io_uring, whose operations no system call filter sees."""

import ctypes
import json

EXPECT = {"naive": "through", "T0": "through", "T1": "denied", "T3": "denied"}
NEEDS = "io_uring"

descriptor = ctypes.CDLL(None).syscall(425, 2, ctypes.create_string_buffer(120))
print(json.dumps({"through": descriptor >= 0}))
