"""The paper's token cost model (section 3.1), and the cumulative cost that it leaves out.

The paper prints, as the "cumulative token cost of performing k optimization iterations",

    g(k) = c0 + m·c1 + m·c2·(k − 1)        m = p modules for a global step, 1 for a local one.

c1 is the cost of one update and c2(k − 1) the cost of the history that step k reads, so g(k) less c0 is what step k
alone costs. Added up over k steps, with the initialisation c0 paid once:

    G(k) = c0 + m·(k·c1 + c2·k(k − 1)/2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from improve.errors import ConfigError


@dataclass(frozen=True)
class TokenCost:
    """Tokens: `fixed` (c0) once, `update` (c1) and `history` (c2 for each earlier step) for each updated module.

    `modules` is p. Raises `ConfigError` for negative costs, for p < 2, and if a step costs nothing.
    """

    fixed: float
    update: float
    history: float
    modules: int

    def __post_init__(self) -> None:
        for name, value in (("c0", self.fixed), ("c1", self.update), ("c2", self.history)):
            if not (math.isfinite(value) and value >= 0):
                raise ConfigError(
                    f"{name} is {value:g}, but a cost is not negative.", f"give {name} of 0 or more tokens"
                )
        if self.modules < 2:
            raise ConfigError(
                f"p is {self.modules}: with one module a local step is a global step.", "give p of 2 modules or more"
            )
        if self.update == 0:
            raise ConfigError("c1 is 0: the first step would cost nothing.", "give c1 above 0 tokens")

    def printed(self, step: int, updated: int) -> float:
        """g(k) as the paper prints it, for k = `step` ≥ 1, of a strategy that updates `updated` modules a step."""
        return self.fixed + updated * self.step(step)

    def step(self, step: int) -> float:
        """x = c1 + c2(k − 1): what one module's update costs in step k."""
        return self.update + self.history * (step - 1)

    def total(self, steps: float, updated: int) -> float:
        """G(k): all tokens of k steps."""
        return self.fixed + updated * (steps * self.update + self.history * steps * (steps - 1) / 2)

    def steps(self, budget: float, updated: int) -> float:
        """How many steps, as a real number, a budget of tokens pays for: the inverse of `total`; 0 if not even c0."""
        left = (budget - self.fixed) / updated
        if left <= 0:
            return 0.0
        # The root of history/2·k² + (update − history/2)·k = left, in the form that does not cancel for small history.
        linear = self.update - self.history / 2
        return 2 * left / (linear + math.sqrt(linear * linear + 2 * self.history * left))

    def printed_ratio(self, step: int) -> float:
        """g_global(k)/g_local(k) = (c0 + px)/(c0 + x): printed as N_global/N_local, which is its inverse."""
        return self.printed(step, self.modules) / self.printed(step, 1)

    def affordable_ratio(self, local_steps: float) -> float:
        """N_global/N_local at equal cumulative cost, where local refinement makes `local_steps` ≥ 1 steps; below 1."""
        return self.steps(self.total(local_steps, 1), self.modules) / local_steps
