"""The guard of a revision: it changes its own component and nothing else, shown by the hashes of all three.

Without it a gain could not be attributed to a component, which is the point of Iterative Refinement (paper, section
3.1): a candidate whose other components changed is not a candidate.
"""

from __future__ import annotations

from improve.domain import COMPONENTS, Failure, Pipeline, Reason


def violation(component: str, candidate: Pipeline, incumbent: Pipeline) -> Failure | None:
    """What is wrong with a revision of `component` ("all": any of them may change), or None."""
    before, after = incumbent.hashes(), candidate.hashes()
    changed = [name for name in COMPONENTS if before[name] != after[name]]
    if component == "all":
        return None if changed else Failure(Reason.CONTRACT, "all components are as before: nothing was revised.")
    own = next(name for name in COMPONENTS if name == component)
    if own not in changed:
        return Failure(Reason.CONTRACT, f"{own}.py is the same as before: nothing was revised.", own)
    others = [f"{name}.py" for name in changed if name != own]
    if others:
        return Failure(Reason.CONTRACT, f"a revision of {own}.py may not change {' and '.join(others)}.", own)
    return None
