"""`strategy=zero_shot`, the paper's baseline (section 4.1): one prompt, one training, nobody who repairs it."""

from __future__ import annotations

from types import MappingProxyType

from improve.strategies.best_of_n import BestOfN


class ZeroShot(BestOfN):
    """The first pipeline alone."""

    name = "zero_shot"
    fixed = MappingProxyType({"repairs": 0, "iterations": 0, "candidates": 1})


STRATEGY = ZeroShot()
