"""Leaves a named pipe for weights: who opens it waits for good."""

import os

import train

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "fit: contract"}
HANGS = True


honest_save = train.save_weights


def save_weights(state, out):
    honest_save(state, out)
    weights = out / train.WEIGHTS
    os.unlink(weights)
    os.mkfifo(weights)


train.save_weights = save_weights
