"""The token cost model and Lemma 3.2: the cumulative cost, the ratio the right way round, the constants' true range."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from improve.cli import main
from improve.errors import ConfigError
from improve.theory.cost import TokenCost
from improve.theory.lemma import Comparison, Curvature
from improve.theory.quadratics import block_steps, full_steps, mu1_at_least, random_quadratic

COSTS = st.builds(
    TokenCost,
    fixed=st.floats(0, 1e5),
    update=st.floats(1, 1e5),
    history=st.one_of(st.just(0.0), st.floats(1e-3, 1e4)),
    modules=st.integers(2, 12),
)


@given(COSTS, st.integers(1, 60))
def test_the_cumulative_cost_adds_up_what_each_step_costs(cost: TokenCost, steps: int) -> None:
    for updated in (1, cost.modules):
        added = cost.fixed + sum(updated * cost.step(step) for step in range(1, steps + 1))
        assert cost.total(steps, updated) == pytest.approx(added)


@given(COSTS, st.integers(2, 60))
def test_the_printed_formula_is_the_cost_of_one_step_not_of_all(cost: TokenCost, steps: int) -> None:
    last = cost.total(steps, 1) - cost.total(steps - 1, 1)
    assert cost.printed(steps, 1) == pytest.approx(cost.fixed + last)
    assert cost.printed(steps, 1) < cost.total(steps, 1)


@given(COSTS, st.floats(0.5, 1000))
def test_steps_for_a_budget_invert_the_total(cost: TokenCost, steps: float) -> None:
    for updated in (1, cost.modules):
        budget = cost.total(steps, updated)
        assume(budget > cost.fixed * (1 + 1e-6))
        assert cost.steps(budget, updated) == pytest.approx(steps, rel=1e-6)
    assert cost.steps(cost.fixed, 1) == 0


@given(COSTS, st.integers(1, 10_000))
def test_global_steps_are_fewer_for_the_same_tokens(cost: TokenCost, steps: int) -> None:
    ratio = cost.affordable_ratio(steps)
    assert 1 / cost.modules - 1e-9 <= ratio < 1 < cost.printed_ratio(steps)


@pytest.mark.parametrize("modules", [2, 3, 10])
def test_the_limits_for_many_steps(modules: int) -> None:
    with_history, without = TokenCost(2000, 3000, 200, modules), TokenCost(2000, 3000, 0, modules)
    assert with_history.affordable_ratio(10**7) == pytest.approx(modules**-0.5, rel=1e-4)
    assert 1 / with_history.printed_ratio(10**7) == pytest.approx(1 / modules, rel=1e-4)
    assert without.affordable_ratio(5) == pytest.approx(1 / modules)


@st.composite
def curvatures(draw: st.DrawFn) -> Curvature:
    p = draw(st.integers(2, 12))
    smooth = draw(st.floats(1.5, 1e4))
    block = draw(st.floats(max(1.0, smooth / p), smooth))
    return Curvature(1.0, smooth, draw(st.floats(1 / p, max(1 / p, min(1.0, block / p)))), block, p)


@given(curvatures(), st.integers(1, 100), st.integers(1, 100))
def test_the_logarithms_say_which_bound_is_smaller(constants: Curvature, local: int, full: int) -> None:
    ours, theirs = local * np.log(constants.block_rate), full * np.log(constants.full_rate)
    assume(abs(ours - theirs) > 1e-9)
    assert (full / local < constants.step_worth) == (ours < theirs)


@given(curvatures(), st.floats(0.01, 1))
def test_the_mu1_that_is_needed_is_where_the_condition_turns(constants: Curvature, ratio: float) -> None:
    needed = constants.mu1_needed(ratio)
    assert (constants.mu1 > needed * (1 + 1e-9)) <= (ratio < constants.step_worth * (1 + 1e-9))
    assert (constants.mu1 < needed * (1 - 1e-9)) <= (ratio > constants.step_worth * (1 - 1e-9))


@given(COSTS, st.floats(1.01, 1e4), st.integers(1, 1000))
def test_at_the_worst_constants_the_lemma_never_holds(cost: TokenCost, smooth: float, steps: int) -> None:
    worst = Curvature(1.0, smooth, 1 / cost.modules, smooth, cost.modules)
    assert worst.step_worth < 1 / cost.modules
    comparison = Comparison(worst, cost, steps)
    assert not comparison.holds
    assert not comparison.holds_as_printed


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 4), st.floats(2, 1000), st.floats(0, 1))
def test_the_constants_of_real_quadratics(seed: int, p: int, size: int, condition: float, coupling: float) -> None:
    """`Curvature` refuses constants out of range, so computing it checks L/p ≤ Lmax ≤ L and μ/p ≤ μ₁ ≤ Lmax/p."""
    rng = np.random.default_rng(seed)
    problem = random_quadratic(rng, p, size, condition, coupling)
    constants = problem.constants()
    assert constants.mu == pytest.approx(1, rel=1e-6)
    assert constants.smoothness == pytest.approx(condition, rel=1e-6)
    vectors = rng.standard_normal((200, p * size))
    forms = np.einsum("ni,ij,nj->n", vectors, problem.matrix, vectors)
    norms = np.linalg.norm(vectors.reshape(200, p, size), axis=2).sum(axis=1)
    assert (forms >= constants.mu1 * norms**2 * (1 - 1e-9)).all()
    full = full_steps(problem, constants.smoothness, 15)
    local = block_steps(problem, constants.block_smoothness, 15, None)
    assert (full[1:] <= constants.full_rate * full[:-1] * (1 + 1e-9)).all()
    assert (local[1:] <= constants.block_rate * local[:-1] * (1 + 1e-9)).all()


@pytest.mark.parametrize("coupling", [0.0, 0.3, 1.0])
def test_the_bound_of_mu1_is_certain_and_close(coupling: float) -> None:
    """For blocks of one coordinate 1/μ₁ is the largest gᵀH⁻¹g over the corners g of a cube."""
    for seed in range(10):
        matrix = random_quadratic(np.random.default_rng(seed), 4, 1, 30, coupling).matrix
        inverse = np.linalg.inv(matrix)
        corners = (np.array(signs) for signs in itertools.product((-1, 1), repeat=4))
        exact = 1 / max(float(corner @ inverse @ corner) for corner in corners)
        assert 0.8 * exact < mu1_at_least(matrix, 4) <= exact * (1 + 1e-9)


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("--mu1", "0.9999", ""),
        ("--mu1", "1.1", "mu1 = 1.1"),
        ("--mu1", "0.3", "mu1 = 0.3"),
        ("--Lmax", "20", "Lmax = 20"),
        ("--mu", "100", "mu = 100"),
        ("--p", "1", "one module"),
        ("--c1", "0", "c1 is 0"),
        ("--c2", "-1", "c2 is -1"),
        ("--k", "0", "k is 0"),
    ],
)
def test_impossible_constants_are_refused(
    option: str, value: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["theory", "budget", option, value])
    printed = capsys.readouterr()
    assert code == (ConfigError.exit_code if named else 0)
    assert named in printed.err
    assert bool(named) == bool(printed.err)


def test_the_command_prints_both_ratios_and_the_slips(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["theory"]) == 0
    printed = capsys.readouterr().out
    for text in ("T* = 3", "41,000", "= 2.412 > 1", "0.3946 < 0.8326: holds", "Nutini", "1/√p = 0.577"):
        assert text in printed
