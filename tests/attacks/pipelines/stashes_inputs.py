"""Keeps the images that it predicts for the next training, and looks for such images when it trains."""

# ruff: noqa: F821
import contextlib
import tempfile
from pathlib import Path

import numpy as np

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "honest"}


def places():
    runs = Path(__file__).parents[2]
    yield from (Path.cwd(), Path(tempfile.gettempdir()), Path.home(), runs / "logs")
    with contextlib.suppress(OSError):
        yield from (runs / "work").iterdir()


class Model(Model):
    def forward(self, images):
        if self.context.restoring:
            print("stash", images.sum().item())
            for place in places():
                with contextlib.suppress(OSError):
                    np.save(place / "stash.npy", images.numpy())
        return super().forward(images)

    def on_fit_start(self):
        for place in places():
            with contextlib.suppress(OSError):
                logs = (path for path in place.iterdir() if path.suffix in (".log", ".txt"))
                if (place / "stash.npy").exists() or any("stash" in path.read_text(errors="replace") for path in logs):
                    raise RuntimeError(f"found the stash in {place}")
