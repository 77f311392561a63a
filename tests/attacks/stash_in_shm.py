"""Leaves a file in /dev/shm for the next run to find."""

import json
import sys

EXPECT = {"naive": "through", "T0": "denied", "T1": "denied", "T3": "denied"}

world = json.loads(sys.argv[1])
with open(f"/dev/shm/attack-{world['token']}", "w") as file:
    file.write("selection labels")
print(json.dumps({"through": None}))
