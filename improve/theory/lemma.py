"""Lemma 3.2 of the paper: when component-wise steps end closer to the optimum than full steps of the same cost.

For a μ-strongly convex, L-smooth function of p blocks, N_global gradient steps of length 1/L leave at most the
factor (1 − μ/L)^N_global of the initial gap, and N_local Gauss-Southwell steps of length 1/L_max on one block at most
(1 − μ₁/L_max)^N_local. The second bound is the smaller one if and only if

    N_global / N_local < log(1 − μ₁/L_max) / log(1 − μ/L).

μ₁ is the strong convexity in the norm Σ_b |x_b|, after Nutini et al., "Coordinate Descent Converges Faster with the
Gauss-Southwell Rule Than Random Selection", ICML 2015 (the paper credits Richtárik and Takáč 2014).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from improve.errors import ConfigError
from improve.theory.cost import TokenCost


@dataclass(frozen=True)
class Curvature:
    """The constants of the lemma: μ, L, μ₁, L_max, and the number of blocks p. Raises `ConfigError` if impossible.

    They are not free: 0 < μ < L, μ/p ≤ μ₁ ≤ min(μ, L_max/p), max(μ, L/p) ≤ L_max ≤ L. (μ₁ ≤ L_max/p: take a vector with
    |x_b| = 1 in every block; over random signs of its blocks xᵀHx is on average Σ x_bᵀH_b x_b ≤ p·L_max, while
    (Σ|x_b|)² = p².)
    """

    mu: float
    smoothness: float  # L
    mu1: float
    block_smoothness: float  # L_max
    blocks: int

    def __post_init__(self) -> None:
        mu, smooth, mu1, block, p = self.mu, self.smoothness, self.mu1, self.block_smoothness, self.blocks
        if not all(map(math.isfinite, (mu, smooth, mu1, block))) or not 0 < mu < smooth:
            raise ConfigError(
                f"mu = {mu:g} and L = {smooth:g}, but a strongly convex and smooth function has 0 < μ ≤ L"
                " (and for μ = L one full step ends at the optimum: there is nothing to compare).",
                "give mu above 0 and L above mu",
            )
        slack = 1 + 1e-9  # constants computed from a matrix may miss a bound by rounding
        lowest = max(mu, smooth / p)
        if not lowest <= block * slack or not block <= smooth * slack:
            raise ConfigError(
                f"Lmax = {block:g}, but with p = {p}, mu = {mu:g} and L = {smooth:g} it lies in [max(μ, L/p), L].",
                f"give Lmax between {lowest:g} and {smooth:g}",
            )
        highest = min(mu, block / p)
        if not mu / p <= mu1 * slack or not mu1 <= highest * slack:
            raise ConfigError(
                f"mu1 = {mu1:g}, but with p = {p} blocks, mu = {mu:g} and Lmax = {block:g} it lies in"
                " [μ/p, min(μ, Lmax/p)].",
                f"give mu1 between {mu / p:g} and {highest:g}",
            )

    @property
    def full_rate(self) -> float:
        """1 − μ/L: what a full step leaves of the gap, at most."""
        return 1 - self.mu / self.smoothness

    @property
    def block_rate(self) -> float:
        """1 − μ₁/L_max: what a component-wise step leaves of the gap, at most; not below 1 − 1/p."""
        return 1 - self.mu1 / self.block_smoothness

    @property
    def step_worth(self) -> float:
        """log_{1−μ/L}(1 − μ₁/L_max): how many full steps one component-wise step is worth, by the two bounds."""
        return math.log1p(-self.mu1 / self.block_smoothness) / math.log1p(-self.mu / self.smoothness)

    def mu1_needed(self, ratio: float) -> float:
        """The μ₁ above which the bounds favour component-wise steps, if N_global/N_local is `ratio`."""
        return -self.block_smoothness * math.expm1(ratio * math.log1p(-self.mu / self.smoothness))


@dataclass(frozen=True)
class Comparison:
    """The lemma's condition at step k: as printed, and with the numbers of steps that the same tokens pay for."""

    curvature: Curvature
    cost: TokenCost
    local_steps: int  # k

    @property
    def printed_ratio(self) -> float:
        """(c0 + x)/(c0 + px), the lemma's left side: right if step k's cost, c0 included, were that of every step."""
        return 1 / self.cost.printed_ratio(self.local_steps)

    @property
    def ratio(self) -> float:
        """N_global/N_local at equal cumulative cost."""
        return self.cost.affordable_ratio(self.local_steps)

    @property
    def holds_as_printed(self) -> bool:
        return self.printed_ratio < self.curvature.step_worth

    @property
    def holds(self) -> bool:
        return self.ratio < self.curvature.step_worth
