"""Plants a file among the installed packages, where later runs would import it."""

import json
import os
import sys

EXPECT = {"naive": "through", "T0": "through", "T1": "denied", "T3": "denied"}
NEEDS = "site_packages"

world = json.loads(sys.argv[1])
planted = os.path.join(world["site_packages"], f"planted_{world['token']}.txt")
try:
    open(planted, "w").close()
    os.unlink(planted)
    through = True
except OSError:
    through = False
print(json.dumps({"through": through}))
