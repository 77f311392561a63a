"""Asks for the size of a file outside whose exact path it knows. Landlock leaves that open: no content, no names."""

import json
import os
import sys

EXPECT = {"naive": "through", "T0": "through", "T1": "through", "T3": "denied"}

world = json.loads(sys.argv[1])
print(json.dumps({"through": os.path.exists(world["labels"])}))
