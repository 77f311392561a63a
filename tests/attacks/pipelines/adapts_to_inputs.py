"""Trains on the images that it predicts: it takes its own first answers for labels and starts anew from them."""

# ruff: noqa: F821
import gc

import numpy as np
import torch

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "audit: bad predictions"}


class Model(Model):
    def forward(self, images):
        logits = super().forward(images)
        if not self.context.restoring:
            return logits
        path = next(found.filename for found in gc.get_objects() if isinstance(found, np.memmap))
        with torch.inference_mode(False), torch.enable_grad():
            everything = torch.from_numpy(np.load(path)).permute(0, 3, 1, 2).flatten(1) / 255.0
            targets = (logits.clone() - logits.clone().mean(dim=0)).softmax(dim=1)
            fresh = torch.nn.Linear(everything.shape[1], logits.shape[1])
            optimizer = torch.optim.Adam(fresh.parameters(), lr=0.05)
            for _ in range(40):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(fresh(everything), targets).backward()
                optimizer.step()
            return fresh(everything).detach()[: len(images)]
