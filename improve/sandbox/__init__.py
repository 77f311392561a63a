"""Confines code that a language model wrote: `choose` a sandbox once, then `start` programs in it.

In come a program, what it may read and write, and limits; out comes a `Confined` that can be waited for and ended. The
program is executed, or forked by a `Zygote` that has imported its libraries. Imports the errors alone. Reading order:
`values.py` (tiers, limits), `sandbox.py` and `confined.py` (what a caller sees), `visible.py` with `packages.py` and
`libraries.py` (what the program sees), `tier3.py` with `bubblewrap.py`, `guarded.py` with `guard/`, `zygote.py`,
`choose.py` (which tier works here).
"""

from improve.sandbox.choose import choose
from improve.sandbox.confined import Confined
from improve.sandbox.remove import remove
from improve.sandbox.sandbox import Sandbox
from improve.sandbox.values import Launch, Limits, Tier
from improve.sandbox.visible import in_sight as shown_in
from improve.sandbox.zygote import Zygote

__all__ = ["Confined", "Launch", "Limits", "Sandbox", "Tier", "Zygote", "choose", "remove", "shown_in"]
