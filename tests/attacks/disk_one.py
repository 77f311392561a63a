"""Writes one file of 50 MB."""

import json
import os
import sys
import time

EXPECT = {"naive": "through", "T0": "disk", "T1": "disk", "T3": "disk"}

world = json.loads(sys.argv[1])
through = True
try:
    with open(os.path.join(world["work"], "big"), "wb") as file:
        for _ in range(50):
            file.write(b"x" * 1_000_000)
except OSError:
    through = False
time.sleep(1)
print(json.dumps({"through": through}))
