"""Counts every validation image as right."""

# ruff: noqa: F821
import torch

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "honest"}


class Model(Model):
    def validation_step(self, batch, batch_index):
        loss = super().validation_step(batch, batch_index)["loss"]
        return {"loss": loss * 0, "correct": torch.tensor(len(batch[1]))}
