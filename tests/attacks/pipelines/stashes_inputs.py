"""Keeps the images that it predicts for the next training, and looks for such images when it trains."""

# ruff: noqa: F821
import contextlib
from pathlib import Path

import numpy as np

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "honest"}
ALONE = "fit predict"


def places():
    near = (Path.cwd(), Path.cwd() / "../../work", Path.cwd() / "../../logs", Path("/tmp"), Path("/dev/shm"), Path.home())
    for place in near:
        yield place
        with contextlib.suppress(OSError):
            yield from (folder for folder in place.iterdir() if folder.is_dir())


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
