"""Theorem 3.1 of the paper: after how many iterations local refinement has gained more than global updates.

The theorem compares a lower bound of the local gain, β an iteration (A4), with an upper bound of the global gain,
αγ^t in iteration t (A3). What local refinement is ahead by after T iterations is then at least

    f(T) = βT − A(1 − γ^T),   A = αγ/(1 − γ).

f is convex and f(0) = 0. For β < αγ it therefore falls first, crosses zero once, and rises from there on. The positive
root follows with r = A/β and s = −ln γ from T = r(1 − e^(−sT)): with u = s(T − r) this reads u·e^u = −sr·e^(−sr).
u = −sr solves it (T = 0); the other solution lies on the principal branch W₀ of Lambert's W if sr > 1:

    T = r + W₀(−sr·e^(−sr)) / s.

If sr ≤ 1 there is no positive root: f rises from 0 on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from improve.errors import ConfigError

Array: TypeAlias = NDArray[np.float64]
DIGITS = 60  # of the arithmetic that decides f(T) ≥ 0: doubles cannot tell a tie (β = αγ) from a near miss
LARGEST = 10**12  # no T* beyond it is looked for


@dataclass(frozen=True)
class Crossover:
    """What Theorem 3.1 says for one α ≥ 0, β > 0 and 0 < γ < 1 (gains as fractions of 1).

    `steps` is T*, the smallest T in {1, 2, …} with f(T) ≥ 0; `root` is the positive real root of f, None if it has
    none. At T = 0 f is 0 whatever the parameters, so T = 0 cannot be meant.
    """

    alpha: float
    beta: float
    gamma: float
    steps: int
    root: float | None

    @property
    def increasing(self) -> bool:
        """Whether f(0) < f(1) < f(2) < …, as the theorem says of all parameters; true only if β > αγ."""
        return Decimal(str(self.beta)) > Decimal(str(self.alpha)) * Decimal(str(self.gamma))

    def gap(self, iterations: float) -> float:
        """f(T): by how much local refinement is ahead after T iterations, at least."""
        log = math.log(self.gamma)
        # expm1: 1 − γ^T loses all its digits where γ is close to 1.
        return self.beta * iterations + self.alpha * self.gamma / (1 - self.gamma) * math.expm1(log * iterations)


def crossover(alpha: float, beta: float, gamma: float) -> Crossover:
    """T* and the real root. Raises `ConfigError` for parameters outside the theorem's assumptions."""
    _check(alpha, beta, gamma)
    limit = alpha * gamma / (1 - gamma) / beta
    if limit > LARGEST:
        raise ConfigError(
            f"T* may be as large as αγ/((1 − γ)β) = {limit:.3g} iterations, which no run reaches.",
            f"give a larger beta (now {beta:g}), or a smaller alpha or gamma (now {alpha:g}, {gamma:g})",
        )
    return Crossover(alpha, beta, gamma, _first_ahead(alpha, beta, gamma, limit), closed_form(alpha, beta, gamma))


def closed_form(alpha: float, beta: float, gamma: float) -> float | None:
    """The positive real root of f by Lambert's W; None if f has none."""
    found = float(roots(np.array([alpha]), np.array([beta]), np.array([gamma]))[0])
    return None if math.isnan(found) else found


def roots(alpha: Array, beta: Array, gamma: Array) -> Array:
    """The positive real root of f for each α ≥ 0, β ≥ 0, 0 < γ < 1: NaN where f has none, ∞ for β = 0 < α."""
    from scipy.special import lambertw

    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        ratio, rate = alpha * gamma / (1 - gamma) / beta, -np.log(gamma)
        product = ratio * rate
        found: Array = ratio + lambertw(-product * np.exp(-product)).real / rate
        found = np.where(product > 1, found, np.nan)
    return np.where((beta == 0) & (alpha > 0), np.inf, found)


def brute_force(alpha: float, beta: float, gamma: float, limit: int) -> int | None:
    """The smallest T ≥ 1 at which the sum of β − αγ^t over t = 1 … T is not negative; None if T would exceed `limit`.

    It adds the gains up one by one, knows nothing of f's formula, and is there to check it.
    """
    with localcontext() as context:
        context.prec = DIGITS
        local, gain, decay = Decimal(str(beta)), Decimal(str(alpha)), Decimal(str(gamma))
        ahead = Decimal(0)
        for iteration in range(1, limit + 1):
            gain *= decay
            ahead += local - gain
            if ahead >= 0:
                return iteration
    return None


def _first_ahead(alpha: float, beta: float, gamma: float, limit: float) -> int:
    """By bisection: f is convex with f(0) = 0, so `f(T) ≥ 0` is false and then true for ever along T = 1, 2, …"""
    with localcontext() as context:
        context.prec = DIGITS
        gain, local, decay = Decimal(str(alpha)), Decimal(str(beta)), Decimal(str(gamma))

        def ahead(iterations: int) -> bool:
            # (1 − γ) f(T) ≥ 0, without a division that would round.
            return local * iterations * (1 - decay) >= gain * decay * (1 - decay**iterations)

        low, high = 0, math.ceil(limit) + 1  # f(αγ/((1 − γ)β)) = Aγ^T ≥ 0
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if ahead(middle) else (middle, high)
    return high


def _check(alpha: float, beta: float, gamma: float) -> None:
    values = {"alpha": alpha, "beta": beta, "gamma": gamma}
    for name, value in values.items():
        if not math.isfinite(value):
            raise ConfigError(f"{name} is {value}.", f"give {name} as a finite number")
    if not 0 < gamma < 1:
        raise ConfigError(
            f"gamma is {gamma:g}, but the gain of global updates decays by a factor 0 < γ < 1 (assumption A3).",
            "give gamma between 0 and 1, for instance 0.5",
        )
    if alpha < 0:
        raise ConfigError(f"alpha is {alpha:g}, but gains are not negative (assumption A3).", "give alpha of 0 or more")
    if beta <= 0:
        raise ConfigError(
            f"beta is {beta:g}, but the theorem needs a local gain β > 0 (assumption A4); without it there is no T*.",
            "give beta above 0",
        )
