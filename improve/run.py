"""`python -m improve.run [GROUP=NAME] [KEY=VALUE]…`: the only entry that Hydra starts. Validate, build, run, result.

Nothing heavy is imported before the configuration is known to be good, so `--help` and `--cfg job` are quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from improve import config as schema
from improve.compose import explain, quoted, register_schema, to_config
from improve.errors import ConfigError, ImproveError, Interrupted

if TYPE_CHECKING:
    from improve.dry_run import DryRun

CONF = str(Path(__file__).resolve().parent / "conf")


# What the runs that this process carried out gave: Hydra keeps no job's return value.
exit_codes: list[int] = []
estimated: list[DryRun] = []


@hydra.main(version_base="1.3", config_path=CONF, config_name="config")
def job(values: DictConfig) -> None:
    """One run, or one of a sweep: a user's mistake in one does not stop the others; a bug does."""

    def work() -> None:
        config = to_config(values)
        schema.check(config)
        if config.dry_run:
            _estimate(config)
            return
        from improve.session import run

        run(config)

    exit_codes.append(guarded(work))


def _estimate(config: schema.Config) -> None:
    """Print what a run would ask of its models: a table, or a line for each run of a sweep."""
    from improve.dry_run import dry_run, print_dry_run, print_line

    made = dry_run(config)
    estimated.append(made)
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        print_line(made)
    else:
        print_dry_run(made)


def main(arguments: list[str] | None = None) -> int:
    """Run with these arguments (default: the command line's) and return the exit code."""
    sys.argv = [sys.argv[0], *quoted(sys.argv[1:] if arguments is None else arguments)]
    # Hydra would print what it catches in its own words and exit with 1; we say it in ours, with our codes.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    register_schema()
    exit_codes.clear()
    estimated.clear()
    try:
        code = guarded(job) or max(exit_codes, default=0)
    except Interrupted as interruption:
        return interruption.exit_code
    if len(estimated) > 1:
        from improve.dry_run import print_sum

        print_sum(estimated)
    return code


def guarded(work: Callable[[], None]) -> int:
    """Do the work; a mistake of the user becomes a sentence on stderr and an exit code, a bug keeps its traceback."""
    try:
        work()
    except ImproveError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except (HydraException, OmegaConfBaseException) as error:
        print(f"error: {explain(error, sys.argv[1:])}", file=sys.stderr)
        return ConfigError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
