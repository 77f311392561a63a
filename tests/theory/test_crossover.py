"""Theorem 3.1: T* by closed form, by bisection and by counting agree, and what the paper says of f is put right."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from improve.cli import main
from improve.errors import ConfigError
from improve.theory.crossover import brute_force, crossover

ALPHAS = st.floats(0, 1)
BETAS = st.floats(1e-3, 1)
GAMMAS = st.floats(0.01, 0.99)


def test_the_papers_example() -> None:
    result = crossover(alpha=0.3, beta=0.1, gamma=0.5)
    assert result.steps == 3
    assert result.root == pytest.approx(2.4515619, abs=1e-6)
    assert result.gap(2) < 0 < result.gap(3)
    assert not result.increasing


@settings(max_examples=300, deadline=None)
@given(ALPHAS, BETAS, GAMMAS)
def test_t_star_is_the_first_iteration_that_counting_finds(alpha: float, beta: float, gamma: float) -> None:
    assume(alpha * gamma / (1 - gamma) / beta < 2000)
    assert crossover(alpha, beta, gamma).steps == brute_force(alpha, beta, gamma, 3000)


@settings(max_examples=300, deadline=None)
@given(ALPHAS, BETAS, GAMMAS)
def test_the_closed_form_is_a_zero_and_rounds_up_to_t_star(alpha: float, beta: float, gamma: float) -> None:
    result = crossover(alpha, beta, gamma)
    if result.root is None:
        assert result.steps == 1
        return
    assert result.gap(result.root) == pytest.approx(0, abs=1e-9)
    if abs(result.root - round(result.root)) > 1e-6:
        assert result.steps == max(1, math.ceil(result.root))


@settings(max_examples=300, deadline=None)
@given(ALPHAS, BETAS, GAMMAS)
def test_local_refinement_stays_ahead_although_f_need_not_increase(alpha: float, beta: float, gamma: float) -> None:
    result = crossover(alpha, beta, gamma)
    assume(result.steps < 500)
    values = [result.gap(step) for step in range(result.steps + 30)]
    assert all(value < 1e-9 for value in values[1 : result.steps])
    assert all(value > -1e-9 for value in values[result.steps :])
    if abs(beta - alpha * gamma) > 1e-6:
        assert result.increasing == all(low < high for low, high in itertools.pairwise(values))
    assert not result.increasing or result.steps == 1


@pytest.mark.parametrize(
    ("alpha", "beta", "gamma", "steps"),
    [
        (0.3, 0.15, 0.5, 1),  # β = αγ: f(1) = 0
        (0.4, 0.15, 0.5, 2),  # 2β = αγ + αγ²: f(2) = 0
        (0.7, 0.07, 0.1, 1),  # 0.7·0.1 is not 0.07 in doubles
        (0.0, 0.1, 0.5, 1),  # no global gain at all
    ],
)
def test_ties_and_extremes(alpha: float, beta: float, gamma: float, steps: int) -> None:
    assert crossover(alpha, beta, gamma).steps == steps


def test_far_out_bisection_and_closed_form_still_agree() -> None:
    result = crossover(alpha=0.5, beta=0.25, gamma=0.9999999)
    assert result.root is not None
    assert result.root > 1e7
    assert abs(result.steps - result.root) < 1.5


@pytest.mark.parametrize(
    ("alpha", "beta", "gamma", "named"),
    [
        (0.3, 0.1, 1.0, "gamma"),
        (0.3, 0.1, 0.0, "gamma"),
        (-0.1, 0.1, 0.5, "alpha"),
        (0.3, 0.0, 0.5, "beta"),
        (math.nan, 0.1, 0.5, "alpha"),
        (0.3, math.inf, 0.5, "beta"),
        (0.3, 1e-20, 0.5, "iterations"),
    ],
)
def test_parameters_outside_the_assumptions_are_refused(alpha: float, beta: float, gamma: float, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        crossover(alpha, beta, gamma)


def test_the_command_prints_the_numbers_and_the_slips(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["theory", "point", "--alpha", "0.3", "--beta", "0.1", "--gamma", "0.5"]) == 0
    printed = capsys.readouterr().out
    for text in ("T* = 3", "2.45156", "first ahead at T = 3, the same", "only if β > αγ", "f(0) is 0", "integer 3"):
        assert text in printed


def test_a_bad_parameter_is_an_error_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["theory", "point", "--gamma", "1.5"]) == ConfigError.exit_code
    error = capsys.readouterr().err
    assert "gamma is 1.5" in error
    assert "Traceback" not in error
