"""`improve theory simulate`: block coordinate descent against full steps on random quadratics, at equal token cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from improve.errors import ConfigError
from improve.theory.cost import TokenCost
from improve.theory.quadratics import Array, block_steps, full_steps, random_quadratic

COUPLINGS = (0.0, 0.25, 0.5, 1.0)
MOST_COORDINATES = 200
MOST_STEPS = 5000


@dataclass(frozen=True)
class Setting:
    """`steps` local steps set the budget; tokens c1 `update` and c2 `history`; `condition` is L/μ.

    c0 is paid once by both strategies and so changes nothing. Raises `ConfigError` for what cannot be simulated.
    """

    problems: int = 50
    modules: int = 3
    block: int = 4
    condition: float = 30.0
    steps: int = 60
    update: float = 3000.0
    history: float = 200.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in (("--problems", self.problems), ("--steps", self.steps), ("--block", self.block)):
            if value < 1:
                raise ConfigError(f"{name} is {value}, but one is the least.", f"give {name} of 1 or more")
        if self.seed < 0:
            raise ConfigError(f"--seed is {self.seed}, but seeds are not negative.", "give --seed of 0 or more")
        if not 1 < self.condition <= 1e6:
            raise ConfigError(
                f"--condition is {self.condition:g}, but L/μ above 1 and up to 10^6 can be simulated.",
                "give --condition 30, for instance",
            )
        if self.modules * self.block > MOST_COORDINATES or self.steps > MOST_STEPS:
            raise ConfigError(
                f"{self.modules} modules of {self.block} coordinates and {self.steps} steps are too many.",
                f"keep p × block at {MOST_COORDINATES} or less and --steps at {MOST_STEPS} or less",
            )
        if self.global_steps < 1:
            raise ConfigError(
                f"{self.steps} local steps cost less than one global step of {self.modules} modules.",
                f"give --steps of {self.modules} or more",
            )

    @property
    def cost(self) -> TokenCost:
        return TokenCost(0, self.update, self.history, self.modules)

    @property
    def global_steps(self) -> int:
        """How many whole full steps the tokens of the local steps pay for."""
        return int(self.cost.steps(self.cost.total(self.steps, 1), self.modules) * (1 + 1e-12))


@dataclass(frozen=True)
class Descents:
    """At one coupling: the share of the first gap that is left, problems × (1 + steps), and the lemma's word for each.

    `full` has 1 + `global_steps` columns, the others 1 + `steps`: the last columns have cost the same.
    """

    coupling: float
    full: Array
    southwell: Array
    random: Array
    lemma_holds: NDArray[np.bool_]


def descend(setting: Setting, coupling: float) -> Descents:
    """Solve `setting.problems` random problems; the same seed gives the same problems."""
    full, southwell, random, holds = [], [], [], []
    ratio = setting.global_steps / setting.steps
    for number in range(setting.problems):
        rng = np.random.default_rng([setting.seed, number, round(1000 * coupling)])
        problem = random_quadratic(rng, setting.modules, setting.block, setting.condition, coupling)
        constants = problem.constants()
        full.append(full_steps(problem, constants.smoothness, setting.global_steps))
        southwell.append(block_steps(problem, constants.block_smoothness, setting.steps, None))
        random.append(block_steps(problem, constants.block_smoothness, setting.steps, rng))
        holds.append(ratio < constants.step_worth)
    return Descents(coupling, _relative(full), _relative(southwell), _relative(random), np.array(holds))


def _relative(values: list[Array]) -> Array:
    """Each problem's gap as a share of its first."""
    gaps = np.array(values)
    shares: Array = gaps / gaps[:, :1]
    return shares


def simulate(setting: Setting, folder: Path) -> list[str]:
    """The table and what it means; writes simulate.svg and simulate.png into the folder."""
    from improve.theory.figures import draw_descents

    descents = [descend(setting, coupling) for coupling in COUPLINGS]
    files = draw_descents(setting, descents, folder)
    return [*_heading(setting), *_table(descents), *_meaning(setting), *(f"figure: {file}" for file in files)]


def _heading(setting: Setting) -> list[str]:
    tokens = setting.cost.total(setting.steps, 1)
    return [
        f"{setting.problems} random quadratics a row, {setting.modules} modules of {setting.block} coordinates,"
        f" L/μ = {setting.condition:g}, seed {setting.seed}",
        f"The same {tokens:,.0f} tokens (c1 = {setting.update:g}, c2 = {setting.history:g}) pay for {setting.steps}"
        f" steps of one module or {setting.global_steps} of all.",
        "Share of the first gap that is left (median), and in how many problems one module at a time ends lower:",
    ]


def _table(descents: list[Descents]) -> list[str]:
    rows = [
        (
            "coupling",
            "all at once",
            "worst module",
            "lower",
            "random module",
            "lower",
            "Lemma 3.2 holds",
            "yet not lower",
        )
    ]
    for one in descents:
        full, southwell, random = one.full[:, -1], one.southwell[:, -1], one.random[:, -1]
        total = len(full)
        rows.append(
            (
                f"{one.coupling:g}",
                f"{np.median(full):.2e}",
                f"{np.median(southwell):.2e}",
                f"{np.count_nonzero(southwell < full)}/{total}",
                f"{np.median(random):.2e}",
                f"{np.count_nonzero(random < full)}/{total}",
                f"{np.count_nonzero(one.lemma_holds)}/{total}",
                f"{np.count_nonzero(one.lemma_holds & (southwell >= full))}/{total}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _meaning(setting: Setting) -> list[str]:
    return [
        "worst module: the one of the largest gradient (Gauss-Southwell, the lemma's rule); random module: a guess.",
        f"Lemma 3.2 is asked with N_global/N_local = {setting.global_steps}/{setting.steps}, the μ, L and Lmax of each"
        " problem, and a certain lower bound of μ₁.",
        "It shows when cheap steps on one block go further than dear ones on all, and that the lemma, which compares"
        " two bounds, need not name the winner.",
        "It does not show that language models behave so: these functions are smooth and convex, every step improves,"
        " nothing is noisy, and no gain stays above a β (A4): the gains of both strategies decay.",
    ]
