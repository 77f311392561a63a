"""Leaves a link for weights."""

import os

import train

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "fit: contract"}


honest_save = train.save_weights


def save_weights(state, out):
    honest_save(state, out)
    weights = out / train.WEIGHTS
    os.rename(weights, f"{weights}.real")
    os.symlink(f"{weights}.real", weights)


train.save_weights = save_weights
