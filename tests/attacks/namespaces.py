"""Makes namespaces of its own, in which it would have every capability."""

import ctypes
import json

EXPECT = {"naive": "through", "T0": "through", "T1": "denied", "T3": "denied"}
NEEDS = "namespaces"

print(json.dumps({"through": ctypes.CDLL(None).unshare(0x10000000) == 0}))
