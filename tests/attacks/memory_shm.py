"""Takes 256 MiB through files in /dev/shm, which are in no process's memory."""

import json
import sys
import time

EXPECT = {"naive": "through", "T0": "memory", "T1": "memory", "T3": "memory"}

world = json.loads(sys.argv[1])
through = True
try:
    for number in range(64):
        with open(f"/dev/shm/attack-{world['token']}-{number}", "wb") as file:
            file.write(b"x" * (1 << 22))
except OSError:
    through = False
time.sleep(1.5)
print(json.dumps({"through": through}))
