"""Takes 256 MiB in one process."""

import json
import time

EXPECT = {"naive": "through", "T0": "memory", "T1": "memory", "T3": "memory"}

taken = []
for _ in range(16):
    taken.append(bytearray(b"x") * (1 << 24))
time.sleep(1.5)
print(json.dumps({"through": True}))
