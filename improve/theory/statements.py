"""What `improve theory point` and `improve theory budget` print: numbers, the check of each, and the paper's slips."""

from __future__ import annotations

from improve.errors import ConfigError
from improve.theory.cost import TokenCost
from improve.theory.crossover import Crossover, brute_force
from improve.theory.lemma import Comparison, Curvature

COUNTED = 100_000  # iterations that are added up one by one to check T*


def point_lines(result: Crossover) -> list[str]:
    """Theorem 3.1 for one α, β, γ."""
    return [
        f"Theorem 3.1 with α = {result.alpha:g}, β = {result.beta:g}, γ = {result.gamma:g}",
        f"  T* = {result.steps}: from iteration {result.steps} on local refinement has gained at least as much.",
        f"  {_root(result)}",
        f"  {_checked(result)}",
        f"  {_table(result)}",
        f"  {_shape(result)}",
        "  What the bounds do not say: βT grows for ever and an accuracy does not. Assumption A4 can hold for at most"
        f" (1 − first accuracy)/β iterations, never more than {1 / result.beta:.4g}"
        f"{'; that is fewer than T*' if result.steps * result.beta > 1 else ''}.",
        "Slips in the paper:",
        "  f is said to increase for all parameters; it does only if β > αγ, and then T* = 1. What the theorem claims"
        " for T ≥ T* holds all the same, since f is convex and f(0) = 0.",
        "  The proof has f(0) = −αγ/(1 − γ) < 0; f(0) is 0, so min{T ∈ ℕ} must leave T = 0 out.",
        "  The example's T* ≈ 2.5 (α = 0.3, β = 0.1, γ = 0.5) is the real root 2.45; T* as defined is the integer 3.",
    ]


def _root(result: Crossover) -> str:
    if result.root is None:
        return "Closed form: f has no positive root; it rises from 0 on."
    return f"Closed form: r + W₀(−sr·e^(−sr))/s = {result.root:.6g}, with r = αγ/((1 − γ)β), s = −ln γ; f is 0 there."


def _checked(result: Crossover) -> str:
    counted = brute_force(result.alpha, result.beta, result.gamma, COUNTED)
    if counted is None:
        return f"Check: added up iteration by iteration, local refinement is still behind after {COUNTED:,}."
    agrees = "the same" if counted == result.steps else "which DIFFERS: please report it"
    return f"Check: added up iteration by iteration, local refinement is first ahead at T = {counted}, {agrees}."


def _table(result: Crossover) -> str:
    last = min(result.steps + 1, 6)
    values = "  ".join(f"f({step}) = {result.gap(step):+.4g}" for step in range(1, last + 1))
    return f"f(0) = 0  {values}"


def _shape(result: Crossover) -> str:
    product = result.alpha * result.gamma
    if result.increasing:
        return f"β > αγ = {product:.4g}: f increases, so local refinement is ahead from the first iteration."
    return f"β ≤ αγ = {product:.4g}: f falls (or stays) at first and increases later, unlike the theorem's statement."


def comparison(
    costs: tuple[float, float, float], constants: tuple[float, float, float, float], modules: int, steps: int
) -> Comparison:
    """From (c0, c1, c2), (μ, L, μ₁, L_max), p and k. Raises `ConfigError` for values outside the assumptions."""
    if steps < 1:
        raise ConfigError(f"k is {steps}, but a comparison needs a step.", "give k of 1 or more")
    cost = TokenCost(*costs, modules)
    return Comparison(Curvature(*constants, modules), cost, steps)


def budget_lines(comparison: Comparison) -> list[str]:
    """The token cost model and Lemma 3.2 at one number of local steps."""
    return [*_cost_lines(comparison.cost, comparison.local_steps), "", *_lemma_lines(comparison)]


def _cost_lines(cost: TokenCost, steps: int) -> list[str]:
    budget = cost.total(steps, 1)
    return [
        f"Token cost with c0 = {cost.fixed:g}, c1 = {cost.update:g}, c2 = {cost.history:g}, p = {cost.modules},"
        f" k = {steps}",
        f"  tokens               local              global (all {cost.modules} modules)",
        f"  printed g(k)         {cost.printed(steps, 1):<18,.0f} {cost.printed(steps, cost.modules):,.0f}",
        f"  cumulative G(k)      {budget:<18,.0f} {cost.total(steps, cost.modules):,.0f}",
        f"  steps for {budget:,.0f} tokens: local {steps}, global {cost.steps(budget, cost.modules):.4g};"
        f" N_global/N_local = {cost.affordable_ratio(steps):.4g} (with k: {_limits(cost)})",
        "Slips in the paper:",
        "  g(k) is called the cumulative cost of k iterations; it is c0 and the cost of step k alone. Cumulative is"
        " G(k) = c0 + m·(k·c1 + c2·k(k − 1)/2), m = p or 1.",
        f"  N_global/N_local is printed as (c0 + px)/(c0 + x) = {cost.printed_ratio(steps):.4g} > 1; a strategy of"
        " dearer steps makes fewer of them, so it is the inverse (the lemma itself has it the right way round).",
    ]


def _limits(cost: TokenCost) -> str:
    if cost.history == 0:
        return "1/p always, as c2 = 0"
    return f"→ 1/√p = {cost.modules**-0.5:.3g}, not 1/p: the longer history of the extra local steps costs too"


def _lemma_lines(comparison: Comparison) -> list[str]:
    curvature = comparison.curvature
    return [
        f"Lemma 3.2 with μ = {curvature.mu:g}, L = {curvature.smoothness:g}, μ₁ = {curvature.mu1:g},"
        f" Lmax = {curvature.block_smoothness:g}",
        f"  a step leaves at most: full {curvature.full_rate:.6g}, component-wise {curvature.block_rate:.6g} of the"
        f" gap; one component-wise step is worth {curvature.step_worth:.4g} full steps",
        f"  as printed:          {_condition(comparison.printed_ratio, comparison.holds_as_printed, curvature)}",
        f"  at equal cost G(k):  {_condition(comparison.ratio, comparison.holds, curvature)}",
        f"  μ₁ needed: above {curvature.mu1_needed(comparison.ratio):.4g};"
        f" it lies in [{curvature.mu / curvature.blocks:.4g}, "
        f"{min(curvature.mu, curvature.block_smoothness / curvature.blocks):.4g}]",
        "Slips in the paper:",
        "  The bound μ/p ≤ μ₁ ≤ μ is that of Nutini et al. (ICML 2015), not of Richtárik and Takáč (2014); in"
        " addition μ₁ ≤ Lmax/p, so no component-wise step is sure to leave less than 1 − 1/p.",
        "  The lemma compares two upper bounds: where it holds the guarantee is better, which need not be the outcome."
        " At μ₁ = μ/p and Lmax = L a component-wise step is worth less than 1/p full steps, and it never holds.",
    ]


def _condition(ratio: float, holds: bool, curvature: Curvature) -> str:
    sign, verdict = ("<", "holds") if holds else ("≥", "does not hold")
    return f"{ratio:.4g} {sign} {curvature.step_worth:.4g}: {verdict}"
