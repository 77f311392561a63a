"""Writes 2,500 files of one byte, each of which takes a block."""

import json
import os
import sys
import time

EXPECT = {"naive": "through", "T0": "disk", "T1": "disk", "T3": "disk"}

world = json.loads(sys.argv[1])
for number in range(2_500):
    with open(os.path.join(world["work"], str(number)), "w") as file:
        file.write("x")
time.sleep(1)
print(json.dumps({"through": True}))
