"""Leaves weights of a tebibyte that take no space, until somebody copies them."""

import os

import train

COMPONENT = "model"
EXPECT = {"naive": "through", "improve": "fit: disk full", "T1": "fit: crash"}


honest_save = train.save_weights


def save_weights(state, out):
    honest_save(state, out)
    weights = out / train.WEIGHTS
    os.truncate(weights, 1 << 40)


train.save_weights = save_weights
