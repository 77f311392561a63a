"""`python -m improve.run [GROUP=NAME] [KEY=VALUE]…`: the only entry that Hydra starts. Validate, build, run, result.

Nothing heavy is imported before the configuration is known to be good, so `--help` and `--cfg job` are quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from improve.signals import ended_by_signals

if __name__ == "__main__":
    ended_by_signals()  # before the imports that take long

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from improve import __version__
from improve.commands.help import help_text
from improve.commands.pipes import ignore_closed_pipes
from improve.config.checks import check
from improve.config.compose import register_schema, to_config
from improve.config.explain import explained
from improve.config.invocation import remember
from improve.config.overrides import commas, hydra_arguments, is_sweep, split
from improve.config.places import CONF
from improve.errors import ImproveError, Interrupted
from improve.record.space import full_disk


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def job(values: DictConfig) -> Any:
    """One run, or one of a study, whose outcome goes back to the sweeper, be it in another process."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        return _of_study(values)
    # Hydra would say in its own words that a job has failed, so the exit code goes past it.
    code = guarded(lambda: _alone(values))
    if code:
        sys.exit(code)
    return None


def _alone(values: DictConfig) -> None:
    config = to_config(values)
    check(config)
    if config.dry_run:
        from improve.commands.dry_run import dry_run, print_dry_run

        print_dry_run(dry_run(config))
        return
    from improve.session import run

    run(config)


def _of_study(values: DictConfig) -> Any:
    config = to_config(values)
    if config.dry_run:
        from improve.study.estimated import line_of_study

        return line_of_study(config)
    from improve.study.outcome import carry_out

    return carry_out(config)


def main(arguments: list[str] | None = None) -> int:
    """Run with these arguments (default: the command line's) and return the exit code."""
    ignore_closed_pipes()
    given = list(sys.argv[1:] if arguments is None else arguments)
    options, _ = split(given)
    if {"-h", "--help"} & set(options):
        print(help_text())
        return 0
    if "--version" in options:
        print(f"improve {__version__}")
        return 0
    try:
        return guarded(lambda: _start(given))
    except Interrupted as interruption:
        return interruption.exit_code
    except SystemExit as ended:  # `job` with its exit code, or the parser of the command line
        return ended.code if isinstance(ended.code, int) else bool(ended.code)


def _start(given: list[str]) -> None:
    """Hand over to Hydra, which calls `job` once or for each run of a sweep."""
    remember(given)
    for several in commas(split(given)[1] if is_sweep(given) else ()):
        print(f"note: {several.partition('=')[0]} is one text, comma included; for several: {several}", file=sys.stderr)
    sys.argv = [sys.argv[0], *hydra_arguments(given)]
    # Hydra would print what it catches in its own words and exit with 1; we say it in ours, with our codes.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    register_schema()
    # It looks through Hydra's plugins, which other commands that import this file do not need.
    from improve.study.sweeper import install

    install()
    job()


def guarded(work: Callable[[], None]) -> int:
    """Do the work; a mistake of the user becomes a sentence on stderr and an exit code, a bug keeps its traceback."""
    try:
        work()
    except ImproveError as error:
        return _told(error)
    except (HydraException, OmegaConfBaseException) as error:
        return _told(explained(error, sys.argv[1:]))
    except OSError as error:
        full = full_disk(error)
        if full is None:
            raise
        return _told(full)
    return 0


def _told(error: ImproveError) -> int:
    print(f"error: {error}", file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
