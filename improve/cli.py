"""The console script `improve`: `run`, `predict`, `report`, `doctor`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from improve import __version__
from improve.run import guarded

DESCRIPTION = """A language model builds an image classifier and refines it one component at a time.

  improve run dataset=folder dataset.path=PHOTOS llm=gpt-4o    one folder of photos for each class
  improve run --cfg job                                       all settings and their defaults
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code; `improve run …` takes the arguments of `python -m improve.run …`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["run"]:
        from improve import run

        return run.main(given[1:])
    parsed = _parser().parse_args(given)
    if "work" not in parsed:
        _parser().print_help()
        return 2
    exit_codes: list[int] = []
    return guarded(lambda: exit_codes.append(parsed.work(parsed))) or sum(exit_codes)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="improve", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"improve {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    commands.add_parser("run", help="build and refine a classifier (arguments: Hydra overrides)", add_help=False)

    predict = commands.add_parser("predict", help="the class of new images, by the best pipeline of a run")
    predict.add_argument("run", type=Path, help="folder of the run")
    predict.add_argument("images", type=Path, nargs="+", help="image files, or folders of them")
    predict.add_argument("--out", type=Path, help="CSV file (default: printed)")
    predict.add_argument("--sandbox", choices=("require", "auto", "off"), default="auto", help="default: auto")
    predict.set_defaults(work=_predict)

    report = commands.add_parser("report", help="write run.html anew from the journal of a run")
    report.add_argument("runs", type=Path, nargs="+", help="folders of runs")
    report.set_defaults(work=_report)

    prompts = commands.add_parser("prompts", help="show what a role is told, without asking anybody")
    prompts.add_argument("action", choices=("show",))
    prompts.add_argument(
        "role", help="architect, data_engineer, model_engineer, training_engineer, analyst, summarizer"
    )
    prompts.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="as for a run: dataset=digits prompts=minimal"
    )
    prompts.set_defaults(work=_prompts)

    doctor = commands.add_parser("doctor", help="what works on this machine, and how to get the rest")
    doctor.add_argument("overrides", nargs="*", metavar="llm=NAME", help="also ask this model for one word")
    doctor.add_argument("--config-dir", type=Path, help="folder with your own options, as of a run")
    doctor.set_defaults(work=_doctor)
    return parser


def _predict(arguments: argparse.Namespace) -> int:
    from improve.predicting import predict

    predict(arguments.run, arguments.images, arguments.out, arguments.sandbox)
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from improve.report import write_run_page

    for run in arguments.runs:
        print(write_run_page(run))
    return 0


def _prompts(arguments: argparse.Namespace) -> int:
    from improve.previewing import show

    print(show(arguments.role, arguments.overrides))
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from improve.doctor import main as doctor

    return doctor(arguments.overrides, arguments.config_dir)


if __name__ == "__main__":
    sys.exit(main())
