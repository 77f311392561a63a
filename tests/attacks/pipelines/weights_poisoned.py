"""Leaves weights whose pickle makes a folder when it is loaded."""

import os

import torch
import train

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "predict: crash"}


class Evil:
    def __reduce__(self):
        return os.mkdir, ("a-checkpoint-ran",)


honest_save = train.save_weights


def save_weights(state, out):
    honest_save(state, out)
    weights = out / train.WEIGHTS
    torch.save({"state": Evil()}, weights)


train.save_weights = save_weights
