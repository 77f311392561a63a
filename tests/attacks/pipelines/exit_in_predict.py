"""Claims success and ends the process with exit code 0 before anything is predicted."""

# ruff: noqa: F821
import os

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "predict: bad predictions"}


class Model(Model):
    def forward(self, images):
        if self.context.restoring:
            print("accuracy: 1.0000", flush=True)
            os._exit(0)
        return super().forward(images)
