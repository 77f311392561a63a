"""Random strongly convex quadratics in p blocks, their constants, and the two ways down: one block or all at once.

f(x) = ½ xᵀHx has its minimum 0 at x = 0. H is (1 − ρ)·D + ρ·R, scaled and shifted so that μ = 1 and L is the wanted
condition number: D has no entries outside the p diagonal blocks, R is rotated at random as a whole. The coupling ρ says
how much a change of one module moves the best choice of the others: at 0 the blocks do not know of each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from improve.theory.lemma import Curvature

Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Quadratic:
    """½ xᵀHx with `matrix` H, (p·b)×(p·b), in p `blocks` of b coordinates, and the point to start from."""

    matrix: Array
    blocks: int
    start: Array

    def value(self, point: Array) -> float:
        return float(point @ self.matrix @ point) / 2

    @property
    def size(self) -> int:
        """b: coordinates of a block."""
        return len(self.start) // self.blocks

    def constants(self) -> Curvature:
        """μ, L and L_max, by eigenvalues, and μ₁: a lower bound of it that is certain (see `mu1_at_least`)."""
        spectrum = np.linalg.eigvalsh(self.matrix)
        b = self.size
        worst = max(
            float(np.linalg.eigvalsh(self.matrix[i : i + b, i : i + b])[-1]) for i in range(0, len(self.start), b)
        )
        mu = float(spectrum[0])
        return Curvature(mu, float(spectrum[-1]), mu1_at_least(self.matrix, self.blocks), worst, self.blocks)


def random_quadratic(rng: np.random.Generator, blocks: int, size: int, condition: float, coupling: float) -> Quadratic:
    """μ = 1, L = `condition`; `coupling` is ρ in [0, 1]. Without mixing the spectrum is log-uniform in [μ, L]."""
    parts = np.zeros((blocks * size, blocks * size))
    spectrum = rng.permutation(_spectrum(rng, blocks * size, condition))
    for block in range(blocks):
        own = slice(block * size, (block + 1) * size)
        parts[own, own] = _rotated(rng, spectrum[own])
    whole = _rotated(rng, _spectrum(rng, blocks * size, condition))
    mixed = (1 - coupling) * parts + coupling * whole
    low, high = np.linalg.eigvalsh(mixed)[[0, -1]]
    identity = np.eye(blocks * size)
    matrix = (mixed - low * identity) * (condition - 1) / (high - low) + identity
    return Quadratic(matrix, blocks, rng.standard_normal(blocks * size))


def _spectrum(rng: np.random.Generator, size: int, condition: float) -> Array:
    inner = condition ** rng.random(size - 2)
    return np.concatenate([[1.0, condition], inner])


def _rotated(rng: np.random.Generator, spectrum: Array) -> Array:
    """A symmetric matrix with these eigenvalues and random eigenvectors."""
    basis, triangle = np.linalg.qr(rng.standard_normal((len(spectrum), len(spectrum))))
    basis = basis * np.sign(np.diag(triangle))  # uniform over all rotations and reflections
    rotated: Array = (basis * spectrum) @ basis.T
    return (rotated + rotated.T) / 2


def mu1_at_least(matrix: Array, blocks: int) -> float:
    """A certain lower bound of μ₁, the strong convexity in the norm Σ_b |x_b|₂ (Nutini et al. 2015, for blocks).

    By duality 1/μ₁ = max gᵀH⁻¹g over |g_b| ≤ 1. For any weights d_b > 0 this maximum is at most
    λ_max(D^−½ H⁻¹ D^−½)·Σ d_b, D = diag(d_b on block b). Equal weights give μ/p; for uncoupled blocks
    d_b = λ_max of H⁻¹'s block b is exact; the search goes on from there.
    """
    inverse = np.linalg.inv(matrix)
    size = len(matrix) // blocks

    def most(logs: Array) -> float:
        weights = np.exp(logs)
        scale = np.repeat(weights, size) ** -0.5
        return float(np.linalg.eigvalsh(scale[:, None] * inverse * scale)[-1] * weights.sum())

    starts = range(0, len(matrix), size)
    own = np.log([float(np.linalg.eigvalsh(inverse[i : i + size, i : i + size])[-1]) for i in starts])
    found = minimize(most, own, method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-6})
    return 1 / min(float(found.fun), most(own), most(np.zeros(blocks)))


def full_steps(problem: Quadratic, smoothness: float, steps: int) -> Array:
    """f after 0, 1, …, `steps` gradient steps of length 1/L on all blocks."""
    point, values = problem.start.copy(), [problem.value(problem.start)]
    for _ in range(steps):
        point = point - problem.matrix @ point / smoothness
        values.append(problem.value(point))
    return np.array(values)


def block_steps(problem: Quadratic, block_smoothness: float, steps: int, rng: np.random.Generator | None) -> Array:
    """f after 0, 1, …, `steps` gradient steps of length 1/L_max on one block.

    The block is that of the largest gradient (Gauss-Southwell: an analyst who knows where it hurts most), or one drawn
    by `rng` (an analyst who guesses).
    """
    point, values = problem.start.copy(), [problem.value(problem.start)]
    size = problem.size
    for _ in range(steps):
        gradient = problem.matrix @ point
        if rng is None:
            block = int(np.argmax((gradient.reshape(problem.blocks, size) ** 2).sum(axis=1)))
        else:
            block = int(rng.integers(problem.blocks))
        own = slice(block * size, (block + 1) * size)
        point[own] -= gradient[own] / block_smoothness
        values.append(problem.value(point))
    return np.array(values)
