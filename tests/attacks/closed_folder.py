"""Hides a pile of files in nested folders that it closes, and nests others too deep to be named."""

import json
import os
import sys
import time

EXPECT = {"naive": "through", "T0": "disk", "T1": "disk", "T3": "disk"}

world = json.loads(sys.argv[1])
os.chdir(world["work"])
for _ in range(650):
    os.mkdir("nested", 0o700)
    os.chdir("nested")
os.mkdir("closed", 0)
time.sleep(1.5)
print(json.dumps({"through": True}))
