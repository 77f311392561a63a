"""Prints 200 MB."""

import json
import sys

EXPECT = {"naive": "through", "T0": "denied", "T1": "denied", "T3": "denied"}

print(json.dumps({"through": None}))
block = "x" * (1 << 20) + "\n"
for _ in range(200):
    sys.stdout.write(block)
