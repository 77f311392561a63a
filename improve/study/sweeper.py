"""Hydra's basic sweeper with what a study needs: it resumes, one run's failure stops no other, and it sums up."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from improve.config.invocation import command, same_again
from improve.display.text import count
from improve.errors import DataError, ImproveError, Interrupted
from improve.record.folders import make_folder, past_of
from improve.signals import stopped_by_signals
from improve.study.launchers.launcher import StudyLauncher
from improve.study.launchers.on_ray import RayLauncher
from improve.study.launchers.on_slurm import SlurmLauncher
from improve.study.launchers.side_by_side import JoblibLauncher
from improve.study.outcome import Outcome, on_record
from improve.study.plan import Job, Plan, combinations, refuse
from improve.study.summary import outcomes_of, print_summary, raise_failures

# Hydra loads its plugins anew when it first looks for them: only what it has after that can be extended.
Plugins.instance()

from hydra._internal.core_plugins.basic_launcher import BasicLauncher  # noqa: E402
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper  # noqa: E402

if TYPE_CHECKING:
    from improve.commands.dry_run import DryRun


MANY = 20  # Hydra composes three or four configurations a second on a core that has other work


def install() -> None:
    """Let `StudySweeper` take the place of Hydra's basic sweeper in this process, and make our launchers known.

    Hydra takes plugins from its own package and from `hydra_plugins` alone; a module of ours there would be loaded by
    every other Hydra program of the environment.
    """
    known = Plugins.instance().class_name_to_class
    known[f"{BasicSweeper.__module__}.{BasicSweeper.__qualname__}"] = StudySweeper
    for launcher in (JoblibLauncher, RayLauncher, SlurmLauncher):
        known[f"hydra_plugins.improve.{launcher.__name__}"] = launcher  # as conf/hydra/launcher/ calls them


class StudySweeper(BasicSweeper):
    """Starts the runs that are not finished, through whichever launcher Hydra is given, and says what became of all.

    What a run gives comes back as its job's return value, also from another process or machine; of a process that died
    the run's folder tells.
    """

    def sweep(self, arguments: list[str]) -> None:
        """Raises `ConfigError` before anything runs, `RunsFailed` after all runs, `Interrupted` in between."""
        assert self.hydra_context is not None
        with stopped_by_signals():
            parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
            overrides = parser.parse_overrides([*self._parse_config(), *arguments])
            refuse(overrides, self._compose)
            asked = combinations(overrides)
            if len(asked) > MANY:
                print(f"reading the settings of {len(asked)} runs …", flush=True)
            plan = Plan.of(asked, self._compose)
            if any(job.config.dry_run for job in plan.jobs):
                self._estimate(plan)
            else:
                self._carry_out(plan)

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        assert self.hydra_context is not None
        assert self.config is not None
        return self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))

    def _carry_out(self, plan: Plan) -> None:
        if isinstance(self.launcher, StudyLauncher):
            self.launcher.check()
        outcomes = _finished(plan)
        left = [job for job in plan.jobs if job.folder not in outcomes]
        for folder in {job.folder.parent for job in left}:
            make_folder(folder)
        print(f"{count(len(plan.jobs), 'run')}, {len(left)} of them to do", flush=True)
        try:
            for batch in self._batches(left):
                if self._one_by_one:
                    print(f"\nrun {1 + plan.jobs.index(batch[0])} of {len(plan.jobs)}: {batch[0].name}", flush=True)
                outcomes |= dict(zip((job.folder for job in batch), self._launch(batch, left), strict=True))
        except Interrupted:
            print_summary(plan, outcomes_of(plan, outcomes))
            print(f"stopped; what is done is kept. Go on with:\n  {same_again()}", file=sys.stderr)
            raise
        except BaseException:  # a launcher's own: a process of it died, say
            print_summary(plan, outcomes_of(plan, outcomes))
            raise
        all_outcomes = outcomes_of(plan, outcomes)
        print_summary(plan, all_outcomes)
        _report(plan)
        raise_failures(all_outcomes)

    def _estimate(self, plan: Plan) -> None:
        """`dry_run=true`: a line for each run that is left to do, and the sum."""
        from improve.commands.dry_run import DryRun, print_sum
        from improve.study.estimated import line_of_study

        finished = _finished(plan)
        left = [job for job in plan.jobs if job.folder not in finished]
        given: list[Outcome | DryRun] = []
        if isinstance(self.launcher, StudyLauncher):
            given += [line_of_study(job.config) for job in left]
        else:
            for batch in self._batches(left):
                given += self._launch(batch, left)
        if finished:
            print(f"{count(len(finished), 'run')} of {len(plan.jobs)} ended before and would not be done again")
        print_sum([dry for dry in given if isinstance(dry, DryRun)])
        failed = [Outcome.failed(name, error) for name, error in plan.refused]
        failed += [outcome for outcome in given if isinstance(outcome, Outcome)]
        if failed:
            print_summary(plan, failed)
            raise_failures(failed)

    @property
    def _one_by_one(self) -> bool:
        return isinstance(self.launcher, BasicLauncher)

    def _batches(self, jobs: Sequence[Job]) -> list[Sequence[Job]]:
        """Where runs go one by one, each is a batch: so the outcomes of those before an interruption are known."""
        size = 1 if self._one_by_one else self.max_batch_size or max(len(jobs), 1)
        return [jobs[start : start + size] for start in range(0, len(jobs), size)]

    def _launch(self, batch: Sequence[Job], left: Sequence[Job]) -> list[Any]:
        """What the jobs of a batch return, in their order."""
        if isinstance(self.launcher, StudyLauncher):
            return self.launcher.carry_out([job.config for job in batch])
        assert self.launcher is not None
        overrides = [[*job.overrides, *self._shown(job)] for job in batch]
        results = self.launcher.launch(overrides, initial_job_idx=left.index(batch[0]))
        return [result.return_value for result in results]

    def _shown(self, job: Job) -> tuple[str, ...]:
        """Live views of several processes would overwrite each other: side by side, each line names its run."""
        if self._one_by_one or job.config.display.mode == "none":
            return ()
        return ("display=plain", "display.named=true")


def _finished(plan: Plan) -> dict[Path, Outcome]:
    """The outcomes of runs of which nothing is left to do, by their folders."""
    found: dict[Path, Outcome] = {}
    for job in plan.jobs:
        try:
            outcome = on_record(job.config)
        except ImproveError as error:
            outcome = Outcome.failed(job.name, error)
        if outcome is not None:
            found[job.folder] = outcome
    return found


def _report(plan: Plan) -> None:
    """Write the tables, figures and page of each study that has a name; of other runs, say what would."""
    from improve.report.study import write_study
    from improve.study.results import print_results

    print_results([job.folder for job in plan.jobs])
    for folder in sorted({job.folder.parent for job in plan.jobs if job.config.study and not job.config.run_dir}):
        try:
            print(f"report       {write_study([folder], folder)}", flush=True)
        except DataError as error:
            print(f"no report    {error}", flush=True)
    loose = [str(job.folder) for job in plan.jobs if not job.config.study and past_of(job.folder)]
    if loose:
        out = Path(loose[0]).parent / "report"
        print(f"for a report {command('report', *loose, '--out', str(out))}", flush=True)
