"""The console script `improve`: its commands and their arguments."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from improve import __version__
from improve.commands.pipes import ignore_closed_pipes
from improve.config.invocation import COMMANDS, run_command
from improve.errors import ConfigError, Interrupted, nearest
from improve.signals import ended_by_signals, stopped_by_signals
from improve.theory.arguments import add_theory

DATA = """Look at the images of a dataset as a run would have them, before anything is spent.

  check    audit them; the exit code is 3 if a result on them would mean nothing
  show     write some training images of each class as a picture (PNG), and print the dataset card
"""


def start() -> int:
    """The console script. What it needs is imported by `main`, so that it can be stopped in a sentence from here on."""
    ended_by_signals()
    return main()


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code; `improve run …` takes the arguments of `python -m improve.run …`."""
    ignore_closed_pipes()
    from improve.commands.help import help_text
    from improve.run import guarded

    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["run"]:
        from improve import run

        return run.main(given[1:])
    if not given or given[0] in ("-h", "--help"):
        print(help_text())
        return 0 if given else 2
    if given[0] not in COMMANDS and not given[0].startswith("-"):
        return guarded(lambda: _unknown(given))
    exit_codes: list[int] = []
    if given[:1] == ["data"]:
        work = partial(_data, given[1:])
    else:
        parsed = _parser().parse_args(given)
        work = partial(parsed.work, parsed)
    try:
        with stopped_by_signals():
            return guarded(lambda: exit_codes.append(work())) or sum(exit_codes)
    except Interrupted as interruption:
        print("\nstopped.", file=sys.stderr)
        return interruption.exit_code


def _unknown(given: Sequence[str]) -> NoReturn:
    fix = run_command(*given) if "=" in given[0] else nearest(given[0], COMMANDS)
    raise ConfigError(f"{given[0]!r} is no command of improve.", fix)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="improve", add_help=False)
    parser.add_argument("--version", action="version", version=f"improve {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    commands.add_parser("run", help="build and refine a classifier (arguments: Hydra overrides)", add_help=False)

    commands.add_parser("data", help="look at the images of a dataset before anything is spent", add_help=False)

    _add_predict(commands.add_parser("predict", help="the class of new images, by the best pipeline of a run"))
    _add_export(
        commands.add_parser("export", help="the best pipeline of a run as an ONNX file, checked with onnxruntime")
    )
    _add_report(
        commands.add_parser("report", help="a run's page, or a study's tables, figures and page, from journals")
    )

    verify = commands.add_parser("verify", help="does a run's record follow from its predictions, labels and code?")
    verify.add_argument("run", type=Path, help="folder of the run")
    verify.add_argument("--retrain", action="store_true", help="also train the delivered pipeline again")
    verify.set_defaults(work=_verify)

    view = commands.add_parser("view", help="runs and studies in a browser, while they go on")
    view.add_argument("outputs", type=Path, nargs="?", default=Path("outputs"), help="default: outputs")
    view.add_argument("--host", default="127.0.0.1", help="what to listen on (default: this machine alone)")
    view.add_argument("--port", type=int, default=8008, help="default: 8008; 0: any that is free")
    view.set_defaults(work=_view)

    cassette = commands.add_parser("cassette", help="the replies of a run as a small file, for llm=replay")
    cassette.add_argument("run", type=Path, help="folder of the run")
    cassette.add_argument("-o", "--out", type=Path, required=True, help="the file to write (JSON)")
    cassette.add_argument("--licence", default="", help="what the replies may be used for, by the model's terms")
    cassette.add_argument("--note", default="", help="anything that its readers should know")
    cassette.set_defaults(work=_cassette)

    keys = commands.add_parser("keys", help="every key of the configuration: type, default, meaning")
    keys.add_argument("names", nargs="*", metavar="GROUP", help="of this group alone; a key's name is one, too")
    keys.set_defaults(work=_keys)

    prompts = commands.add_parser("prompts", help="show what a role is told, without asking anybody")
    prompts.add_argument("action", choices=("show",))
    prompts.add_argument(
        "role", help="architect, data_engineer, model_engineer, training_engineer, analyst, summarizer, or zero_shot"
    )
    prompts.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="as for a run: dataset=digits prompts=minimal"
    )
    prompts.set_defaults(work=_prompts)
    add_theory(commands)

    doctor = commands.add_parser("doctor", help="what works on this machine, and how to get the rest")
    doctor.add_argument("overrides", nargs="*", metavar="llm=NAME", help="also ask this model for one word")
    doctor.add_argument("--config-dir", type=Path, help="folder with your own options, as of a run")
    doctor.set_defaults(work=_doctor)
    return parser


def _add_predict(predict: argparse.ArgumentParser) -> None:
    predict.add_argument("run", type=Path, help="folder of the run")
    predict.add_argument("images", type=Path, nargs="+", help="image files, or folders of them")
    predict.add_argument("-o", "--out", type=Path, help="CSV file (default: printed)")
    predict.add_argument("--top-k", type=_positive, default=1, metavar="K", help="the K likeliest classes (default: 1)")
    predict.add_argument("--probabilities", action="store_true", help="also the probability of every class")
    predict.add_argument("--sandbox", choices=("require", "auto", "off"), default="auto", help="default: auto")
    predict.set_defaults(work=_predict)


def _data(arguments: Sequence[str]) -> int:
    """A parser of its own: options may stand between the settings, which argparse allows without subcommands alone."""
    parser = argparse.ArgumentParser(
        prog="improve data", description=DATA, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("check", "show"))
    parser.add_argument("settings", nargs="*", help="as for `improve run`: dataset=folder dataset.path=PHOTOS …")
    parser.add_argument("-o", "--out", type=Path, help="show: the picture (default: sheet.png)")
    parsed = parser.parse_intermixed_args(arguments)
    from improve.commands.data import check_data, show_data

    if parsed.command == "check":
        return check_data(parsed.settings)
    show_data(parsed.settings, parsed.out or Path("sheet.png"))
    return 0


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _predict(arguments: argparse.Namespace) -> int:
    from improve.commands.predict import predict
    from improve.commands.predictions_table import Columns

    predict(
        arguments.run, arguments.images, arguments.out, arguments.sandbox,
        Columns(arguments.top_k, arguments.probabilities),
    )  # fmt: skip
    return 0


def _add_export(export: argparse.ArgumentParser) -> None:
    export.add_argument("run", type=Path, help="folder of the run")
    export.add_argument("--onnx", action="store_true", required=True, help="the format (there is no other)")
    export.add_argument("-o", "--out", type=Path, help="the file to write (default: best/model.onnx of the run)")
    export.add_argument("--sandbox", choices=("require", "auto", "off"), default="auto", help="default: auto")
    export.set_defaults(work=_export)


def _export(arguments: argparse.Namespace) -> int:
    from improve.commands.export import export_onnx

    export_onnx(arguments.run, arguments.out, arguments.sandbox)
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from improve.commands.verify import verify_run

    return verify_run(arguments.run, arguments.retrain)


def _add_wandb(report: argparse.ArgumentParser) -> None:
    report.add_argument("--wandb", action="store_true", help="instead save a report over the runs, uploaded, in W&B")
    report.add_argument("--project", default="improve", help="of W&B (default: improve)")
    report.add_argument("--entity", default=os.environ.get("WANDB_ENTITY"), help="of W&B (default: the key's own)")


def _report_to_wandb(runs: Sequence[Path], project: str, entity: str | None) -> int:
    from improve.tracking.workspace import save_report

    print(save_report(runs, project, entity))
    return 0


def _add_report(report: argparse.ArgumentParser) -> None:
    report.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="folder of a run (writes its run.html), or one that holds some",
    )
    report.add_argument("-o", "--out", type=Path, help="one report on all the runs, in this folder (default: in PATH)")
    report.add_argument(
        "--leaderboard",
        action="append",
        default=[],
        metavar="DATASET=FILE.csv",
        help="where the results would stand on a Kaggle leaderboard (column Score); may be repeated",
    )
    report.add_argument(
        "--failed-iterations",
        choices=("omit", "show"),
        default="omit",
        help="in the figures by iteration; default: omit, as in the paper's Figure 2",
    )
    _add_wandb(report)
    report.set_defaults(work=_report)


def _report(arguments: argparse.Namespace) -> int:
    if arguments.wandb:
        return _report_to_wandb(arguments.paths, arguments.project, arguments.entity)
    from improve.record.runs import is_run
    from improve.report import write_run_page
    from improve.report.study import Options, leaderboards, write_study

    options = Options(leaderboards(arguments.leaderboard), arguments.failed_iterations == "omit")
    if arguments.out:
        print(write_study(arguments.paths, arguments.out, options))
        return 0
    if options.leaderboards and any(map(is_run, arguments.paths)):
        raise ConfigError("A run's own page has no leaderboard.", "add --out FOLDER, for a report on the runs together")
    for path in arguments.paths:
        print(write_run_page(path) if is_run(path) else write_study([path], path, options))
    return 0


def _view(arguments: argparse.Namespace) -> int:
    from improve.view.server import serve

    serve(arguments.outputs, arguments.host, arguments.port)
    return 0


def _cassette(arguments: argparse.Namespace) -> int:
    from improve.llm.cassette import of_run

    made = of_run(arguments.run, arguments.licence, arguments.note)
    try:
        made.write(arguments.out)
    except OSError as error:
        raise ConfigError(f"{arguments.out} cannot be written: {error.strerror}.", "choose another -o FILE") from None
    print(f"{arguments.out}: {len(made.calls)} replies of {made.model}")
    print(f"replay them with llm=replay llm.cassette={arguments.out}, and the settings of {arguments.run}")
    return 0


def _keys(arguments: argparse.Namespace) -> int:
    from improve.commands.keys import keys_text

    print(keys_text(arguments.names))
    return 0


def _prompts(arguments: argparse.Namespace) -> int:
    from improve.commands.prompts import show

    print(show(arguments.role, arguments.overrides))
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from improve.commands.doctor import main as doctor

    return doctor(arguments.overrides, arguments.config_dir)


if __name__ == "__main__":
    sys.exit(start())
