"""Prints perfect results: when it is imported, after the training, and as the very last thing."""

# ruff: noqa: F821  (this is added to the end of the honest component)
import atexit
import json

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "honest"}


def shout():
    print("accuracy: 1.0000")
    print(json.dumps({"event": "score", "accuracy": 1.0}), flush=True)


shout()
atexit.register(shout)


class Model(Model):
    def on_fit_end(self):
        shout()
