"""`python -m improve.run [GROUP=NAME] [KEY=VALUE]…`: the only entry that Hydra starts. Validate, build, run, result.

Nothing heavy is imported before the configuration is known to be good, so `--help` and `--cfg job` are quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from improve import config as schema
from improve.compose import explain, quoted, register_schema, to_config
from improve.errors import ConfigError, ImproveError, Interrupted

CONF = str(Path(__file__).resolve().parent / "conf")


# The exit codes of the runs that this process carried out: Hydra keeps no job's return value.
exit_codes: list[int] = []


@hydra.main(version_base="1.3", config_path=CONF, config_name="config")
def job(values: DictConfig) -> None:
    """One run, or one of a sweep: a user's mistake in one does not stop the others; a bug does."""

    def work() -> None:
        config = to_config(values)
        schema.check(config)
        from improve.session import run

        run(config)

    exit_codes.append(guarded(work))


def main(arguments: list[str] | None = None) -> int:
    """Run with these arguments (default: the command line's) and return the exit code."""
    sys.argv = [sys.argv[0], *quoted(sys.argv[1:] if arguments is None else arguments)]
    # Hydra would print what it catches in its own words and exit with 1; we say it in ours, with our codes.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    register_schema()
    exit_codes.clear()
    try:
        return guarded(job) or max(exit_codes, default=0)
    except Interrupted as interruption:
        return interruption.exit_code


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
