"""c0, c1, c2 and the seconds of a training from what runs recorded, by non-negative least squares.

The rows are those of the cumulative cost model, taken apart: the start of a run costs c0, and iteration t ≥ 1 costs
m·(c1 + c2(t − 1)) tokens, m = 1 under `iterative` and p = 3 under `global`. Training seconds: s0 at the start, s1 in
each iteration (0 is recorded where no training was started).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from improve.domain import COMPONENTS
from improve.report.study.runs import StudyRun
from improve.theory.estimates import Array, Estimate, estimate, weights
from improve.theory.runs import GLOBAL, LOCAL, strategy

MODULES = len(COMPONENTS)  # p
SINGULAR = 1e-8  # of the largest singular value: directions below it are not in the data


@dataclass(frozen=True)
class Spending:
    """The fitted costs. `tokens` are c0, c1, c2; `seconds` are s0 and s1 of each strategy recorded.

    `unexplained` is the share of the iterations' tokens' variance that the model leaves; None where it has no meaning.
    `dearer` is what an iteration of `global` costs in tokens, in iterations of `iterative` (the model: p).
    """

    tokens: dict[str, Estimate]
    seconds: dict[str, Estimate]
    unexplained: float | None
    dearer: Estimate | None


def fit_spending(runs: Sequence[StudyRun], rng: np.random.Generator, resamples: int) -> Spending:
    """All costs with intervals by a bootstrap over runs."""
    draws = weights(rng, len(runs), resamples)
    blocks = [_token_rows(run) for run in runs]
    seconds: dict[str, Estimate] = {}
    for name in (LOCAL, GLOBAL):
        own = [run for run in runs if strategy(run) == name]
        if own:
            seconds |= _seconds(own, name, weights(rng, len(own), resamples))
    return Spending(
        tokens=dict(zip(("c0", "c1", "c2"), _fit(blocks, draws), strict=True)),
        seconds=seconds,
        unexplained=_unexplained(blocks),
        dearer=_dearer(runs, draws),
    )


def _tokens(run: StudyRun) -> Array:
    """Of the start, and of each iteration."""
    return np.diff([float(step.spent.tokens) for step in run.steps], prepend=0)


def _token_rows(run: StudyRun) -> tuple[Array, Array]:
    updated = MODULES if strategy(run) == GLOBAL else 1
    rows = [(1.0, 0.0, 0.0), *((0.0, float(updated), float(updated * step)) for step in range(len(run.steps) - 1))]
    return np.array(rows), _tokens(run)


def _seconds(runs: Sequence[StudyRun], name: str, draws: Array) -> dict[str, Estimate]:
    blocks = []
    for run in runs:
        design = np.array([(1.0, 0.0), *((0.0, 1.0) for _ in run.steps[1:])])
        blocks.append((design, np.diff([step.spent.training_seconds for step in run.steps], prepend=0)))
    start, step = _fit(blocks, draws)
    return {f"first pipeline, {name}": start, f"iteration, {name}": step}


def _fit(blocks: list[tuple[Array, Array]], draws: Array) -> list[Estimate]:
    """Non-negative least squares over the runs' rows, for the data and each resample."""
    design = np.concatenate([rows for rows, _ in blocks])
    # With the normal equations of each run a resample is a weighted sum; A'A = R'R gives nnls the same problem.
    squares = np.array([rows.T @ rows for rows, _ in blocks])
    products = np.array([rows.T @ values for rows, values in blocks])
    solutions = np.array([_solve(np.tensordot(draw, squares, 1), draw @ products) for draw in draws])
    whys = _undetermined(design)
    if not any(values.any() for _, values in blocks):
        whys = ["nothing was spent, so there is nothing to divide up"] * design.shape[1]
    answers = []
    for column, why in enumerate(whys):
        if not why and solutions[0, column] == 0:
            why = "the best fit is at its bound 0, so the data show none of it"
        answers.append(estimate(solutions[:, column], len(blocks), why))
    return answers


def _solve(squares: Array, products: Array) -> Array:
    """argmin over x ≥ 0 of xᵀSx/2 − bᵀx, S being AᵀA; NaN for the parameters that a resample cannot tell."""
    scale = np.sqrt(np.diag(squares))
    scale[scale == 0] = 1
    values, vectors = np.linalg.eigh(squares / np.outer(scale, scale))
    kept = values > SINGULAR * values[-1]
    root = np.sqrt(values[kept])[:, None] * vectors[:, kept].T
    solution: Array = nnls(root, (vectors[:, kept].T @ (products / scale)) / np.sqrt(values[kept]))[0] / scale
    hidden = np.abs(vectors[:, ~kept]).max(axis=1, initial=0.0) > np.sqrt(SINGULAR)
    return np.where(hidden, np.nan, solution)


def _undetermined(design: Array) -> list[str]:
    """For each parameter "" or why the rows cannot tell it: a direction of the null space moves it."""
    scale = np.linalg.norm(design, axis=0)
    scale[scale == 0] = 1
    _, singular, directions = np.linalg.svd(design / scale, full_matrices=True)
    rank = int((singular > SINGULAR * singular[0]).sum())
    hidden = np.abs(directions[rank:]).max(axis=0, initial=0.0) > np.sqrt(SINGULAR)
    why = f"the recorded iterations leave {design.shape[1] - rank} of {design.shape[1]} parameters open (rank {rank})"
    return [why if one else "" for one in hidden]


def _unexplained(blocks: list[tuple[Array, Array]]) -> float | None:
    design = np.concatenate([rows[1:] for rows, _ in blocks])[:, 1:]
    values = np.concatenate([values[1:] for _, values in blocks])
    around = float(((values - values.mean()) ** 2).sum())
    return float(nnls(design, values)[1] ** 2) / around if around > 0 else None


def _dearer(runs: Sequence[StudyRun], draws: Array) -> Estimate | None:
    """Mean tokens of a global iteration over those of a local one, in the iterations that both have."""
    shared = min(len(run.steps) for run in runs)
    if {strategy(run) for run in runs} != {LOCAL, GLOBAL}:
        return None
    spent = np.array([_tokens(run)[1:shared].sum() for run in runs])
    is_local = np.array([strategy(run) == LOCAL for run in runs])
    if not spent[is_local].any():
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [draws[:, own] @ spent[own] / draws[:, own].sum(axis=1) for own in (~is_local, is_local)]
        ratio = means[0] / means[1]
    return estimate(ratio, min(int(is_local.sum()), int((~is_local).sum())))
