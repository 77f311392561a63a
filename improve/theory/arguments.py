"""The command line of `improve theory`: options, their defaults, and which module answers. Imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path

DESCRIPTION = """The paper's Theorem 3.1, Lemma 3.2 and token cost model (section 3.1), with what is wrong in them.

  improve theory                                                the paper's own example
  improve theory point --alpha 0.3 --beta 0.1 --gamma 0.5       after how many iterations local refinement is ahead
  improve theory budget --c0 2000 --c1 3000 --c2 200 --k 10     who goes further for the same tokens
  improve theory simulate                                       both strategies on random quadratics at equal cost
  improve theory fit outputs                                    α, β, γ and the costs from recorded runs
"""
FIGURES = Path("outputs/theory")


def add_theory(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `theory` and its subcommands; without one it prints the paper's example."""
    theory = commands.add_parser(
        "theory",
        help="the paper's theorem and lemma: stated, checked, simulated, fitted to runs",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    theory.set_defaults(work=_example)
    parts = theory.add_subparsers(metavar="PART")
    _add_point(parts.add_parser("point", help="Theorem 3.1: T* by closed form and by counting"))
    _add_budget(parts.add_parser("budget", help="token cost model and Lemma 3.2"))
    _add_simulate(parts.add_parser("simulate", help="both strategies on random quadratics at equal cost"))
    _add_fit(parts.add_parser("fit", help="estimate α, β, γ, c0, c1, c2 and training seconds from runs"))


def _add_point(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--alpha", type=float, default=0.3, help="global gain in iteration t is αγ^t; default: 0.3")
    parser.add_argument("--beta", type=float, default=0.1, help="local gain an iteration; default: 0.1")
    parser.add_argument("--gamma", type=float, default=0.5, help="decay of the global gain; default: 0.5")
    parser.set_defaults(work=_point)


def _add_budget(parser: argparse.ArgumentParser) -> None:
    costs = parser.add_argument_group("tokens (the paper names no figures; these are an illustration)")
    costs.add_argument("--c0", type=float, default=2000, help="initialisation, once; default: 2000")
    costs.add_argument("--c1", type=float, default=3000, help="update of one module; default: 3000")
    costs.add_argument("--c2", type=float, default=200, help="history, each earlier step and module; default: 200")
    costs.add_argument("--p", type=int, default=3, help="modules; default: 3 (data, model, training)")
    costs.add_argument("--k", type=int, default=10, help="local steps; default: 10")
    curvature = parser.add_argument_group("the function's constants (an illustration too)")
    curvature.add_argument("--mu", type=float, default=1.0, help="strong convexity; default: 1")
    curvature.add_argument("--L", type=float, default=100.0, help="smoothness; default: 100")
    curvature.add_argument("--mu1", type=float, default=0.5, help="strong convexity in the block norm; default: 0.5")
    curvature.add_argument("--Lmax", type=float, default=60.0, help="smoothness of the worst block; default: 60")
    parser.set_defaults(work=_budget)


def _add_simulate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--problems", type=int, default=50, help="random quadratics a row; default: 50")
    parser.add_argument("--p", type=int, default=3, help="modules, a block of coordinates each; default: 3")
    parser.add_argument("--block", type=int, default=4, help="coordinates of a block; default: 4")
    parser.add_argument("--condition", type=float, default=30.0, help="L/μ; default: 30")
    parser.add_argument("--steps", type=int, default=60, help="local steps that the budget pays for; default: 60")
    parser.add_argument("--c1", type=float, default=3000, help="tokens: update of one module; default: 3000")
    parser.add_argument("--c2", type=float, default=200, help="tokens: history, each earlier step; default: 200")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--out", type=Path, default=FIGURES, help=f"folder of the figure; default: {FIGURES}")
    parser.set_defaults(work=_simulate)


def _add_fit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", type=Path, nargs="+", metavar="PATH", help="folders of runs, or folders that hold some"
    )
    parser.add_argument("--gpu-hour", type=float, default=0.0, help="USD for an hour of training; default: 0")
    parser.add_argument("--resamples", type=int, default=2000, help="of the bootstrap over runs; default: 2000")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap; default: 0")
    parser.add_argument("--out", type=Path, default=FIGURES, help=f"folder of the figures; default: {FIGURES}")
    parser.set_defaults(work=_fit)


def _example(arguments: argparse.Namespace) -> int:
    parser = argparse.ArgumentParser()
    _add_point(parser)
    _add_budget(parser)
    defaults = parser.parse_args([])
    _point(defaults)
    print()
    return _budget(defaults)


def _point(arguments: argparse.Namespace) -> int:
    from improve.theory.crossover import crossover
    from improve.theory.statements import point_lines

    print("\n".join(point_lines(crossover(arguments.alpha, arguments.beta, arguments.gamma))))
    return 0


def _budget(arguments: argparse.Namespace) -> int:
    from improve.theory.statements import budget_lines, comparison

    costs = (arguments.c0, arguments.c1, arguments.c2)
    constants = (arguments.mu, arguments.L, arguments.mu1, arguments.Lmax)
    print("\n".join(budget_lines(comparison(costs, constants, arguments.p, arguments.k))))
    return 0


def _simulate(arguments: argparse.Namespace) -> int:
    from improve.theory.simulate import Setting, simulate

    setting = Setting(
        problems=arguments.problems,
        modules=arguments.p,
        block=arguments.block,
        condition=arguments.condition,
        steps=arguments.steps,
        update=arguments.c1,
        history=arguments.c2,
        seed=arguments.seed,
    )
    print("\n".join(simulate(setting, arguments.out)))
    return 0


def _fit(arguments: argparse.Namespace) -> int:
    from improve.theory.fit import Options, fit

    options = Options(arguments.gpu_hour, arguments.resamples, arguments.seed)
    print("\n".join(fit(arguments.paths, options, arguments.out)))
    return 0
