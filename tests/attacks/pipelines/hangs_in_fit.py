"""Never ends its training, and ignores every signal that can be ignored."""

# ruff: noqa: F821
import signal
import time

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "fit: timeout"}
HANGS = True


class Model(Model):
    def on_fit_start(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        time.sleep(600)
