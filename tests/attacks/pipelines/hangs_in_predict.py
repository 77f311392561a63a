"""Never ends its prediction, and ignores every signal that can be ignored."""

# ruff: noqa: F821
import signal
import time

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "predict: timeout"}
HANGS = True


class Model(Model):
    def forward(self, images):
        if self.context.restoring:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM, signal.SIGPIPE):
                signal.signal(number, signal.SIG_IGN)
            time.sleep(600)
        return super().forward(images)
