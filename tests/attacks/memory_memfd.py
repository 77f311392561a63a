"""Takes 256 MiB in anonymous files that no process maps."""

import json
import os
import time

EXPECT = {"naive": "through", "T0": "memory", "T1": "memory", "T3": "memory"}

for _ in range(64):
    os.write(os.memfd_create("attack"), b"x" * (1 << 22))
time.sleep(1.5)
print(json.dumps({"through": True}))
