"""What the records of a journal hold, kind by kind. Reports and displays read these and nothing else.

A run writes, in this order:

    run, audit_data                          once
    llm (architect, engineers)               the plan and the first pipeline
    weights…, check…, candidate, training, score, audit, verdict, llm (summarizer), summary      iteration 0
    llm (analyst), proposal, llm (engineer), check…, candidate, …                      iterations 1, 2, …
    stop                                                                               if the loop ended early
    training, score (further ones of the best pipeline, for the ensemble); refit       after the loop
    test (of the first pipeline and of the best)
    member (test scores of further trainings), ensemble or refit_test, claims
    finished                                 once

Between any two of them may stand notes, which are no steps: `code` (from there on, the run was carried out by another
version of improve), `server` (what a model's server taught), `unanswered` (a call that got no reply), `outage` (what
was tested when a session ended for that) and `lost` (what a cluster lost, and which was done again).

Where an iteration has several candidates (strategy.candidates), each of its steps is there for one candidate after the
other: all proposals with the engineers' calls, all checks, a `batch` (what is trained side by side), all trainings with
their scores, verdicts, summaries. Further trainings that go side by side come after a `batch`, too. The key `iteration`
is then the number of the candidate (see `numbering`), in all kinds.

Iteration 0 is the first pipeline; it has no proposal. Under strategy=global there are three engineers in an iteration,
under zero_shot and best_of_n nobody but the one prompt of each pipeline: no proposals, and empty summaries. Keys named
`seconds` or ending in `_seconds` are durations; they and `SPEEDS` (what was measured of it) are the only values in
which a resumed run may differ from an uninterrupted one.
"""

from __future__ import annotations

from typing import Any, TypedDict

from improve.spending.costs import LLMRecord as LLMRecord
from improve.spending.costs import UnansweredRecord as UnansweredRecord


class RunRecord(TypedDict):
    """kind `run`."""

    name: str
    study: str  # the study that it is part of; "" if none
    config: dict[str, Any]  # the whole resolved configuration
    prompts: dict[str, str]  # the prompt set: name and hash of its texts
    versions: dict[str, str]  # improve, python, torch, …
    hardware: str  # "2 × Intel Xeon …, no GPU"
    commit: str  # of the checkout that improve runs from, "" if none; "+dirty" at its end if changed
    tier: str  # "T3", …
    tier_description: str
    verified: bool  # False under T0: every score is then shown as unverified
    dataset: dict[str, Any]  # see improve.datasets: name, class_names, counts {train, selection, test}, fingerprint, …
    card: str  # the dataset card, as the roles read it
    weights: dict[str, Any]  # at_hand: names of pretrained weights; on_demand: whether others are fetched. New
    cassette: dict[str, str]  # llm=replay: model and sha256 of what is replayed; else empty
    budget: dict[
        str, Any
    ]  # the limits of the first session: usd, tokens, minutes, gpu_minutes, trainings (None: no limit)
    notes: list[str]  # what people should know: "llm=offline is a rule-based expert, no language model", …


class DataAuditRecord(TypedDict):
    """kind `audit_data`: what the audit of the images found before anything was spent."""

    findings: list[dict[str, Any]]  # improve.datasets.findings.Finding: code, severity, what, fix, examples
    accepted: list[str]  # codes of findings that the configuration accepts (dataset.accept)
    classes: list[dict[str, Any]]  # some training images of each class: name, images, file (PNG in the run's folder)


class ServerRecord(TypedDict):
    """kind `server`: what a server taught in the middle of a run, so that a resumed run knows it."""

    llm: str  # the option's name
    model: str
    manners: dict[str, Any]  # see improve.llm.manners
    said: str  # for people


class LostRecord(TypedDict):
    """kind `lost`: what a node of a cluster did not bring to its end."""

    iteration: int
    what: str  # "smoke", "fit", "samples", "predict", "audit", "test"
    why: str


class ProposalRecord(TypedDict):
    """kind `proposal`: what the analyst chose."""

    iteration: int
    component: str  # "data", "model", "training"; "all" under strategy=global
    diagnosis: str
    feedback: str


class CandidateRecord(TypedDict):
    """kind `candidate`: a pipeline's sources as they go into training (after repairs)."""

    iteration: int
    parent: int | None  # the iteration of the incumbent that it revises
    changed: list[str]  # components that differ from the parent
    hashes: dict[str, str]  # component → SHA-256
    folder: str  # holds data.py, model.py, training.py, log.txt, metrics.csv; relative to the run's folder


class WeightsRecord(TypedDict):
    """kind `weights`: pretrained weights that a model component named and that were not at hand; before its check."""

    iteration: int
    attempt: int
    wanted: list[str]  # as the source names them
    fetched: list[dict[str, Any]]  # asked; name, licence (timm's); repository, revision (hub's); bytes, sha256 (file's)
    said: str  # for people
    failure: FailureRecord | None  # why one cannot be had


class FailureRecord(TypedDict):
    reason: str  # a domain.Reason
    message: str
    component: str | None
    detail: str


class CheckRecord(TypedDict):
    """kind `check`: static contract and smoke run of one attempt."""

    iteration: int
    attempt: int
    component: str  # the component that was written for it ("all" for a whole pipeline)
    failure: FailureRecord | None


class LengthRecord(TypedDict, total=False):
    """What a training's steps were: `execution.length`. Older journals have none of it."""

    steps: int  # batches that it learnt from
    planned_steps: int
    steps_that_fit: int  # in the limit: of executor.fit_seconds, or executor.steps
    steps_per_epoch: int
    step_seconds: float  # as measured before the training; 0: its limit is in steps
    compiled: str  # "yes", "no" (tried in vain) or "" (not tried)
    compile_gain: float  # how many times as many steps fit as without; 0: not measured
    compile_seconds: float  # that trying it took
    batch_size: int
    limit_share: float  # of executor.fit_seconds that the training took; measured from outside
    slot_seconds: float  # trained side by side with others: how long it and its prediction took


class TrainingRecord(LengthRecord):
    """kind `training`: one fit."""

    iteration: int
    replicate: int  # 0; from 1 on: the same pipeline once more, with another seed. Earlier versions: always 0, unsaid
    race: int | None  # the iteration whose candidate was judged meanwhile; None: after the loop
    failure: FailureRecord | None
    fit_seconds: float
    epochs: float  # self-reported by the pipeline, as is all that follows: shown, used for nothing but fair lengths
    train_accuracy: float | None
    validation_accuracy: float | None
    planned_epochs: float
    epochs_that_fit: float  # in the limit, by the measured speed; below 1: it was trained on a part of the images
    rows: list[dict[str, Any]]  # a validation each, see execution.status.ROW_KEYS; in older journals an epoch each
    samples: str | None  # PNG of augmented training images, as the generated code shows them; relative to the folder
    samples_note: str  # why there are none, "" if they were not asked for


class BatchRecord(TypedDict):
    """kind `batch`: trainings that go side by side, as far as the budget had room for them."""

    trainings: list[list[int]]  # number of the candidate and replicate of each, in the order of their records


class ScoreRecord(TypedDict):
    """kind `score`: predictions on the selection split against the hidden labels."""

    iteration: int
    replicate: int  # these two as in TrainingRecord
    race: int | None
    failure: FailureRecord | None
    correct: int
    total: int
    accuracy: float
    low: float  # 95% Wilson interval
    high: float
    predictions: str  # file of the predicted probabilities, float32 N×K .npy, relative to the run's folder
    sha256: str  # of that file
    predict_seconds: float


class AuditRecord(TypedDict):
    """kind `audit`: a part of the selection images predicted again, re-blinded, in another order, some alone."""

    iteration: int
    images: int
    alone: int  # of them, predicted one by one
    differing: int  # images that get other probabilities
    flagged: bool  # more differ than the tolerance allows: the score is not used
    note: str


class VerdictRecord(TypedDict):
    """kind `verdict`."""

    iteration: int
    component: str  # as in ProposalRecord; "all" for a whole pipeline, "" if the analyst gave no usable answer
    verdict: str  # a domain.Verdict
    note: str  # one line: why
    wins: int  # selection images that only the candidate gets right; where trainings were repeated, a mean, rounded
    losses: int  # … that only the incumbent gets right
    p_value: float | None  # one-sided: exact McNemar, or over images and trainings (acceptance=racing)
    # Earlier versions do not record the following.
    effect: float | None  # racing: accuracy gained; 95% interval over images and trainings: low to high
    low: float | None
    high: float | None
    trainings: list[int]  # of the candidate and of the incumbent, that it was decided from
    accuracy: float | None  # on the selection images, mean over the candidate's trainings
    incumbent_accuracy: float | None  # … over those of the incumbent before the verdict
    incumbent: int | None  # iteration of the best pipeline after this verdict and those of the same iteration


class SummaryRecord(TypedDict):
    """kind `summary`: the summarizer's sentence on the iteration."""

    iteration: int
    text: str


class TestRecord(TypedDict):
    """kind `test`: the test split, scored once for the first pipeline and once for the best."""

    which: str  # "first" or "best"
    iteration: int
    failure: FailureRecord | None
    correct: int
    total: int
    accuracy: float
    low: float
    high: float
    confusion: list[list[int]]  # rows: true class, columns: predicted class
    worst: list[dict[str, Any]]  # most confidently wrong: file (PNG in the run's folder), true, predicted, …
    strata: dict[str, list[int]]  # kind of test images (a corruption) → correct, total; empty if there are no kinds
    predictions: str
    sha256: str
    audit: AuditRecord  # of the test images; a score that it flags is not reported. Older runs have none


class DeliveredRecord(TypedDict):
    """kind `delivered`: the exported folder predicted the selection images again (of a refit, which has learnt from
    them, the test images). Earlier versions do not record it."""

    iteration: int
    images: int
    differing: int  # images whose predicted class is not the scored one
    difference: float | None  # largest of a probability; None if there were no predictions
    note: str  # why there were none, else ""
    split: str  # whose images they are; earlier versions do not record it, and had selection


class RefitRecord(TypedDict):
    """kind `refit`: the best pipeline, trained on all images but the test images. Lengths as in `TrainingRecord`."""

    iteration: int
    failure: FailureRecord | None
    fit_seconds: float
    steps: int
    planned_steps: int


class MemberRecord(TypedDict):
    """kinds `member` and `refit_test`: the test split, scored once for a further training of the first or the best
    pipeline, and for a refit (replicate −1)."""

    iteration: int
    replicate: int
    failure: FailureRecord | None
    audit: AuditRecord
    correct: int
    total: int
    accuracy: float
    low: float
    high: float
    predictions: str
    sha256: str


class EnsembleRecord(TypedDict):
    """kind `ensemble`: the test score of what is delivered, the mean of the probabilities of several trainings."""

    iteration: int
    members: list[int]  # replicates of the best pipeline
    failure: None
    correct: int
    total: int
    accuracy: float
    low: float
    high: float
    predictions: str
    sha256: str


class GainRecord(TypedDict):
    """A difference of accuracies, in [-1, 1], as in `judging.claims.Gain`."""

    effect: float
    low: float
    high: float
    p_value: float  # two-sided
    trainings: list[int]
    covers_training: bool  # whether the interval covers the luck of a training, or the images alone
    confidence: float


class ClaimsRecord(TypedDict):
    """kind `claims`: what the run may claim, over images and trainings."""

    gain: GainRecord | None  # of the best pipeline over the first, on the test images
    components: dict[str, GainRecord]  # of all changes of a component that the search went on from, on selection


class StopRecord(TypedDict):
    """kind `stop`: the loop ended before its last iteration."""

    budget: str  # the key of the budget that did not suffice: "budget.usd", …
    reason: str


class OutageRecord(TypedDict):
    """kind `outage`: a session ended because a model was out of reach; its best pipeline so far was tested."""

    reason: str
    first: TestRecord
    best: TestRecord


class FinishedRecord(TypedDict):
    """kind `finished`."""

    reason: str  # "all iterations done", "budget.usd=0.05 does not suffice: …", …
    budget: str  # the key of the budget that ended the run; "" if none did
    best: int | None
    tokens: dict[str, int]
    usd: float | None  # None: the price of a model is not known
    unpriced: list[str]  # the models whose price is not known
    roles: dict[str, dict[str, Any]]  # role → calls, tokens, usd, unpriced, seconds
    iterations: dict[str, dict[str, Any]]  # iteration → the same
    total_seconds: float


class CodeRecord(TypedDict):
    """kind `code`: the rest of the run is by other code than what the `run` record names."""

    code: str  # SHA-256 of improve's sources
    commit: str
    versions: dict[str, str]


SPEEDS = ("epochs_that_fit", "steps_that_fit", "limit_share", "compiled", "compile_gain")


def without_durations(value: Any) -> Any:
    """A record's data less what depends on the machine's speed: what resuming must leave as it would have been."""
    if isinstance(value, dict):
        return {
            key: without_durations(item)
            for key, item in value.items()
            if key != "seconds" and key not in SPEEDS and not key.endswith("_seconds")
        }
    if isinstance(value, list):
        return [without_durations(item) for item in value]
    return value
