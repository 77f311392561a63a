"""Fills many files at once, from several processes, as fast as it can."""

import json
import os
import sys
import time

EXPECT = {"naive": "through", "T0": "disk", "T1": "disk", "T3": "disk"}

world = json.loads(sys.argv[1])
block = b"x" * (1 << 20)
children = []
for worker in range(4):
    child = os.fork()
    if child == 0:
        for number in range(32):
            try:
                with open(os.path.join(world["work"], f"burst{worker}-{number}"), "wb") as file:
                    file.write(block * 4)
            except OSError:
                break
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
time.sleep(1)
print(json.dumps({"through": True}))
