"""`improve.refine(…)`: a run from a notebook or a script, and its result to work with.

import improve
result = improve.refine(dataset="photos/", llm="gpt-4o", strategy={"iterations": 20})
print(result.best_test, result.best)
result.history.plot(x="iteration", y="accuracy")
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from improve.config.checks import check
from improve.config.compose import config_from
from improve.config.overrides import GROUPS, override
from improve.config.places import CONF, expanded
from improve.display.sentences import warnings
from improve.domain import Score
from improve.errors import ConfigError, Interrupted
from improve.record.history import History
from improve.record.iterations import Iteration
from improve.record.kinds import TestRecord
from improve.report import write_run_page
from improve.session import run
from improve.spending.costs import costs

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Result:
    """A finished run. Scores are accuracies on the test images with their 95% interval, fractions in [0, 1]."""

    folder: Path  # of the run
    best: Path  # of the best pipeline: `python predict.py IMAGES` there needs no improve
    first_test: Score | None  # of the first pipeline that had a score; None: its test predictions failed
    best_test: Score | None  # of the best one
    notes: tuple[str, ...]  # what has to be said beside the scores
    record: History = field(repr=False)  # everything that the journal tells

    @property
    def page(self) -> Path:
        """The page of the run, one HTML file; written anew if it is gone."""
        page = self.folder / "run.html"
        return page if page.exists() else write_run_page(self.folder)

    @property
    def history(self) -> pandas.DataFrame:
        """A row for each iteration: what was changed, the verdict, the selection accuracy, what it cost."""
        import pandas  # takes half a second, and not everybody wants a frame

        rows = [{**_row(iteration), "protocol": self.record.protocol} for iteration in self.record.iterations]
        return pandas.DataFrame(rows)


def refine(dataset: str | Path | None = None, llm: str | None = None, **settings: Any) -> Result:
    """Build and refine a classifier, or find the run finished already: the same job as `python -m improve.run`.

    `dataset` is an option (`"digits"`) or a folder that has one folder of images for each class; `llm` is an option.
    `settings` are the other keys and groups: `strategy="global"`, `seed=1`, `strategy={"iterations": 20}`,
    `**{"executor.fit_seconds": 60}`. What a run does, prints and resumes is the same as on the command line; it blocks
    until the run has ended. Works in threads, too, where it leaves signals to the program around it.

    Raises `ImproveError` for what people can mend (its subclasses tell the cases apart), `KeyboardInterrupt` when it is
    interrupted: the same call goes on from there.
    """
    named = {"dataset": dataset, "llm": llm}
    given = {**{key: value for key, value in named.items() if value is not None}, **settings}
    config = config_from(list(_overrides(given)))
    check(config)
    try:
        folder = run(config, resume="the same call of improve.refine(…)")
    except Interrupted as interruption:
        if interruption.exit_code == 128 + signal.SIGINT:
            raise KeyboardInterrupt from None
        raise SystemExit(interruption.exit_code) from None
    return result(folder)


def result(folder: Path) -> Result:
    """The result of a finished run from its folder."""
    history = History.read(folder)
    return Result(
        folder=folder,
        best=folder / "best",
        first_test=_score(history.first_test),
        best_test=_score(history.best_test),
        notes=(*warnings(history), *history.run["notes"]),
        record=history,
    )


def _overrides(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Hydra's overrides for Python values: options of groups by name, keys with their values, mappings key by key."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _overrides(value, f"{prefix}{key}.")
        elif prefix or key not in GROUPS:
            yield override(prefix + key, value)
        elif not isinstance(value, (str, Path)):
            raise ConfigError(
                f"{key} cannot be {value!r}: it is chosen by name.",
                f'give {key}="NAME", or keys: {key}={{"KEY": VALUE}}',
            )
        elif key == "dataset" and _is_folder(value):
            yield from ("dataset=folder", override("dataset.path", expanded(value).absolute()))
        else:
            yield f"{key}={value}"


def _is_folder(value: str | Path) -> bool:
    """Whether a dataset is given as a folder of images and not as an option."""
    if isinstance(value, str) and (CONF / "dataset" / f"{value}.yaml").exists():
        return False
    return isinstance(value, Path) or "/" in value or Path(value).is_dir()


def _score(test: TestRecord | None) -> Score | None:
    if test is None or test["failure"]:
        return None
    return Score(test["correct"], test["total"], test["low"], test["high"])


def _row(iteration: Iteration) -> dict[str, Any]:
    score = iteration.score if iteration.score and not iteration.score["failure"] else None
    verdict, training, failure = iteration.verdict, iteration.training, iteration.failure
    return {
        "iteration": iteration.number,
        "component": iteration.label,
        "verdict": verdict["verdict"] if verdict else None,
        "accuracy": iteration.accuracy,
        "low": score["low"] if score else None,
        "high": score["high"] if score else None,
        "gain": iteration.gain,
        "p_value": verdict["p_value"] if verdict else None,
        "incumbent": verdict["incumbent"] if verdict else None,
        "failure": failure["reason"] if failure else None,
        "fit_seconds": training["fit_seconds"] if training else None,
        "tokens": iteration.tokens,
        "usd": costs(iteration.calls).usd,
        "feedback": iteration.proposal["feedback"] if iteration.proposal else None,
        "summary": iteration.summary,
    }
