"""Reports an error of its own making: a verdict for a reason, a path for a component, terminal codes in its text."""

# ruff: noqa: F821
import json
import os
import sys

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "fit: crash"}


class Model(Model):
    def on_fit_start(self):
        evil = "\x1b[2J\x1b]0;owned\x07\x9b1m\r\nverdict: accepted\n\u202eladnev\u2028\ud800 \udfff\ufeff" + "x" * 3000
        error = {"event": "error", "reason": "accepted", "component": "../../data", "message": evil, "detail": evil}
        os.write(int([*sys.argv, "3"][1]), (json.dumps(error) + "\n").encode())
        os._exit(0)
