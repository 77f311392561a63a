"""`improve theory fit`: known parameters come back from journals, and what the data cannot tell is not identified."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from improve.cli import main
from improve.errors import DataError
from improve.record.journal import JOURNAL
from improve.theory.empirical import compare
from improve.theory.fit import Fit, Options, fit_runs
from improve.theory.gains import solve
from improve.theory.runs import gains, load
from tests.support.refined import FAILED, Refined

ALPHA, GAMMA, BETA = 0.4, 0.6, 0.03
C0, C1, C2 = 5000, 3000, 150
TIMES = np.arange(1, 9)
OPTIONS = Options(resamples=300)


def tokens(strategy: str, steps: int = 8) -> list[int]:
    updated = 3 if strategy == "global" else 1
    return [C0, *(updated * (C1 + C2 * step) for step in range(steps))]


def write(folder: Path, number: int, strategy: str, gains: Sequence[float | None], **more: object) -> Path:
    run = Refined(gains, tokens(strategy, len(gains)), strategy, seed=number, **more)  # type: ignore[arg-type]
    return run.write(folder / f"{strategy}-{number}")


def study(folder: Path, runs: int = 10) -> Path:
    """Runs of both strategies: half of the candidates fail, the others gain twice the mean."""
    rng = np.random.default_rng(3)
    for number in range(runs):
        for strategy, means in (("global", ALPHA * GAMMA**TIMES), ("iterative", np.full(8, BETA))):
            lucky = rng.random(8) < 0.5
            gains = [2 * mean if hit else FAILED for mean, hit in zip(means, lucky, strict=True)]
            fit_seconds = [9.0, *(20.0 if strategy == "iterative" else 30.0 for _ in TIMES)]
            usd = [count / 1e5 for count in tokens(strategy)]
            write(folder, number, strategy, gains, fit_seconds=fit_seconds, usd=usd)
    return folder


def fitted(folder: Path) -> Fit:
    return fit_runs(load([folder])[0], OPTIONS)


@given(
    st.floats(0.01, 10),
    st.floats(0.05, 0.95),
    st.lists(st.integers(1, 20), min_size=2, max_size=15),
)
def test_gains_without_noise_give_their_parameters_back(alpha: float, gamma: float, seen: list[int]) -> None:
    times = np.arange(1, len(seen) + 1)
    counts = np.array([seen], dtype=float)
    found_alpha, found_gamma = solve(counts * alpha * gamma**times, counts)
    assert found_alpha[0] == pytest.approx(alpha, rel=1e-5)
    assert found_gamma[0] == pytest.approx(gamma, rel=1e-5)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=10))
def test_the_fit_keeps_the_total_gain_and_its_mean_iteration(gains: list[float]) -> None:
    times = np.arange(1, len(gains) + 1)
    alpha, gamma = (float(found[0]) for found in solve(np.array([gains]), np.ones((1, len(gains)))))
    assume(not np.isnan(gamma))
    curve = alpha * gamma**times
    assert curve.sum() == pytest.approx(sum(gains), rel=1e-6)
    assert curve @ times == pytest.approx(np.array(gains) @ times, rel=1e-4)


def test_known_parameters_come_back_from_journals(tmp_path: Path) -> None:
    result = fitted(study(tmp_path))
    assert result.decay is not None
    assert result.steady is not None
    assert result.expected is not None
    for found, true in ((result.decay.alpha, ALPHA), (result.decay.gamma, GAMMA), (result.steady.beta, BETA)):
        assert found.identified
        assert found.low is not None
        assert found.high is not None
        assert found.low <= true <= found.high
    assert result.steady.beta.value == pytest.approx(BETA, rel=0.3)
    assert result.steady.fall.low is not None
    assert result.steady.fall.low < 0  # A4 holds here, and is not said to be contradicted
    for name, true in (("c0", C0), ("c1", C1), ("c2", C2)):
        assert result.spending.tokens[name].value == pytest.approx(true)
    assert result.spending.unexplained == pytest.approx(0, abs=1e-9)
    assert result.spending.dearer is not None
    assert result.spending.dearer.value == pytest.approx(3)
    assert result.spending.seconds["iteration, iterative"].value == pytest.approx(20)
    assert result.spending.seconds["iteration, global"].value == pytest.approx(30)
    assert result.spending.seconds["first pipeline, global"].value == pytest.approx(9)


def test_the_fitted_and_the_recorded_crossover_agree_without_noise(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    for number in range(3):
        write(folder, number, "global", list(0.2 * 0.5**TIMES))
        write(folder, number, "iterative", [0.05] * 8)
    result = fitted(folder)
    assert result.expected is not None
    assert result.expected.value == 4  # 4·0.05 ≥ 0.2·(1 − 0.5⁴), and 3·0.05 < 0.2·(1 − 0.5³)
    assert result.curves[0].crossing.value == 4


def test_money_moves_the_crossover(tmp_path: Path) -> None:
    """A local iteration costs a third here, so on tokens it is ahead long before it is ahead on iterations."""
    folder = tmp_path / "runs"
    for number in range(2):
        for strategy, gain in (("iterative", 0.04), ("global", 0.06)):
            step = 100 if strategy == "iterative" else 300
            costs = [100, *(step for _ in TIMES)]
            usd = [cost / 1000 for cost in costs]
            Refined([gain] * 8, costs, strategy, seed=number, usd=usd).write(folder / f"{strategy}{number}")
    runs, _ = load([folder])
    by_iteration, by_tokens, by_money = compare(runs, 0.0, np.random.default_rng(0), 200)
    assert by_iteration.crossing.value is None
    assert "behind at the end" in by_iteration.crossing.why
    assert by_tokens.crossing.value == pytest.approx(100)
    assert by_money.axis.unit == "USD"
    assert by_money.places[-1] == pytest.approx(0.9)


def test_a_price_for_training_enters_the_money(tmp_path: Path) -> None:
    folder = study(tmp_path, runs=2)
    runs, _ = load([folder])
    rng = np.random.default_rng(0)
    cheap, dear = (
        next(curves for curves in compare(runs, price, rng, 100) if curves.axis.name == "money").places[-1]
        for price in (0.0, 3600.0)
    )
    assert dear - cheap == pytest.approx(9 + 8 * 20)  # the local runs end first: 1 USD a second of training


def test_failures_and_rejections_count_as_no_gain(tmp_path: Path) -> None:
    write(tmp_path, 0, "iterative", [0.1, FAILED, 0, 0.1])
    (run,), _ = load([tmp_path])
    assert gains(run) == [pytest.approx(0.1), 0, 0, pytest.approx(0.1)]
    result = fit_runs([run], OPTIONS)
    assert result.steady is not None
    assert result.steady.beta.value == pytest.approx(0.05)
    assert "one run only" in result.steady.beta.why


@pytest.mark.parametrize(
    ("gains", "why"),
    [
        ([[0.2, 0, 0], [0.3, 0, 0]], "all the gain is in the first iteration, so only αγ = 0.25 is known"),
        ([[0.1, 0.2, 0.3], [0.1, 0.2, 0.2]], "do not decay"),
        ([[0, FAILED, 0], [0, 0, FAILED]], "no iteration gained anything"),
        ([[0.2], [0.1]], "one iteration a run"),
        ([[0.3, 0.1, 0.05]], "one run only"),
        ([[0.0, 0.3, 0.0], [0.0, 0.0, 0.01], [0.02, 0, 0]], "resamples the data cannot tell"),
    ],
)
def test_global_gains_that_tell_nothing(gains: list[list[float | None]], why: str, tmp_path: Path) -> None:
    for number, values in enumerate(gains):
        write(tmp_path, number, "global", values)
    result = fitted(tmp_path)
    assert result.decay is not None
    assert why in result.decay.gamma.text()
    assert result.decay.gamma.text().startswith("not identified")
    assert result.decay.gamma.low is None


def test_costs_that_the_iterations_cannot_tell_apart(tmp_path: Path) -> None:
    """One iteration a run never shows what its history costs."""
    for number in range(3):
        write(tmp_path, number, "iterative", [0.1])
    spending = fitted(tmp_path).spending
    assert "leave 1 of 3 parameters open" in spending.tokens["c2"].why
    assert spending.tokens["c1"].identified
    assert spending.tokens["c0"].value == pytest.approx(C0)


def test_a_cost_at_its_bound_is_said_to_be(tmp_path: Path) -> None:
    for number in range(3):
        Refined([0.1, 0, 0], [900, 500, 400, 300 + number]).write(tmp_path / str(number))
    spending = fitted(tmp_path).spending
    assert "at its bound 0" in spending.tokens["c2"].why
    assert spending.tokens["c1"].identified


def test_local_gains_that_fall_contradict_a4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(8):
        write(tmp_path / "runs", number, "iterative", [0.2 + number / 100, 0.1, 0.05, 0, 0, 0])
    assert main(["theory", "fit", str(tmp_path / "runs"), "--resamples", "200", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "A4, β does not fall        contradicted" in printed
    assert "α, γ (global)              not identified: no run of global" in printed
    assert "runs of global are needed too" in printed
    assert "for 12 iterations: then the accuracy would pass 1" in printed  # 0.8 of room, β = 3.08 / 48


def test_the_command_on_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = study(tmp_path / "study", runs=3)
    write(folder, 0, "zero_shot", [])
    write(folder, 5, "iterative", [0.1, 0.1], dataset="others", finished=False, protocol="paper")
    broken = write(folder, 9, "global", [0.1])
    lines = (broken / JOURNAL).read_bytes().replace(b"gpt-4o", b"gpt-9z")
    (broken / JOURNAL).write_bytes(lines)
    given = [str(folder), str(folder / "global-1"), "--out", str(tmp_path / "out"), "--resamples", "200"]
    assert main(["theory", "fit", *given]) == 0
    printed = capsys.readouterr().out
    assert "shapes with gpt-4o: 3 runs of iterative (24 iterations), 3 runs of global (24 iterations)" in printed
    assert "others with gpt-4o: 1 run of iterative (2 iterations), 0 runs of global" in printed
    for text in ("T* (Theorem 3.1)", "global / iterative", "1 run chose pipelines on the test set", "did not finish"):
        assert text in printed
    assert "zero_shot does not refine" in printed
    assert "line 1: the record is damaged" in printed
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        f"fit-{name}-gpt-4o.{kind}" for name in ("shapes", "others") for kind in ("svg", "png")
    }


def test_the_recorded_crossover_has_an_interval_that_may_be_open(tmp_path: Path) -> None:
    """Some resamples of noisy runs never cross: the interval must not end inside the record then."""
    rng = np.random.default_rng(1)
    for number in range(6):
        write(tmp_path, number, "iterative", list(rng.exponential(0.05, 8)))
        write(tmp_path, number, "global", [rng.exponential(0.5), *[0] * 7])
    crossing = fitted(tmp_path).curves[0].crossing
    assert crossing.value is not None
    assert crossing.high == np.inf
    assert "beyond the record" in crossing.text()


@pytest.mark.parametrize("make", ["missing", "empty", "nothing to fit"])
def test_paths_without_runs_are_refused(make: str, tmp_path: Path) -> None:
    folder = tmp_path / "somewhere"
    if make == "empty":
        folder.mkdir()
    if make == "nothing to fit":
        write(folder, 0, "zero_shot", [])
    with pytest.raises(DataError) as error:
        load([folder])
    assert "somewhere" in error.value.what


@pytest.mark.parametrize(("option", "value"), [("--gpu-hour", "-1"), ("--resamples", "5"), ("--seed", "-2")])
def test_bad_options_are_refused_before_anything_is_read(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["theory", "fit", "/nowhere", option, value]) == 2
    assert option in capsys.readouterr().err
