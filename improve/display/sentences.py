"""Sentences about a run, from its history alone: the same words on the terminal, on the end card and on pages."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import cast

from improve.config.invocation import command
from improve.display.text import (
    clean,
    count,
    interval,
    llm_name,
    money,
    one_line,
    percent,
    points,
    short_count,
)
from improve.domain import Score, Verdict
from improve.judging.claims import gain_of_scores
from improve.record.history import PAPER_PROTOCOL, History
from improve.record.iterations import Iteration
from improve.record.kinds import EnsembleRecord, GainRecord, MemberRecord, RunRecord, TestRecord

SPLITS = (("train", "training"), ("selection", "selection"), ("test", "test"))


@dataclass(frozen=True)
class Outcome:
    """The line that a finished iteration leaves behind, in parts, so that each can have its colour."""

    number: int
    label: str
    verdict: Verdict
    said: str  # the verdict in words
    change: str  # "61.2% → 67.1% (+5.9 pp)"; "" without a score
    reason: str


def outcome(iteration: Iteration, limit: int | None = None) -> Outcome:
    """What became of an iteration that has a verdict; its reason is cut to `limit` characters."""
    verdict = iteration.outcome
    assert verdict is not None
    change = percent(iteration.accuracy) if iteration.accuracy is not None else ""
    if iteration.incumbent_accuracy is not None and iteration.gain is not None:
        change = f"{percent(iteration.incumbent_accuracy)} → {change} ({points(iteration.gain)})"
    said = verdict.value
    if verdict is Verdict.FAILED and iteration.failure:
        said = f"failed ({one_line(iteration.failure['reason'])})"
    reason = one_line(iteration.reason, limit)
    return Outcome(iteration.number, iteration.label, verdict, said, change, reason)


def headline(run: RunRecord, history: History) -> str:
    """The run in one line: data set, language model, strategy, seed."""
    config = run["config"]
    llm = llm_name(history.llm, history.rule_based)
    strategy = config.get("strategy", {}).get("name", "?")
    seed = config.get("seed", 0)
    return one_line(f"{run['dataset'].get('name', '?')} · {llm} · strategy {strategy} · seed {seed}")


def short_headline(history: History) -> str:
    """Data set and language model, short enough for a narrow terminal."""
    llm = f"{history.llm} (rule-based expert)" if history.rule_based else history.llm
    return one_line(f"{history.run['dataset'].get('name', '?')} · {llm}")


def images(run: RunRecord) -> str:
    """ "40 classes; 8,000 training, 2,000 selection and 4,000 test images"."""
    counts = run["dataset"].get("counts", {})
    parts = [f"{counts[split]:,} {name}" for split, name in SPLITS if split in counts]
    listed = f"{', '.join(parts[:-1])} and {parts[-1]} images" if len(parts) > 1 else ""
    classes = count(len(run["dataset"].get("class_names", [])), "class", "classes")
    return "; ".join(filter(None, (classes, listed)))


def warnings(history: History) -> list[str]:
    """What must be said beside every score of this run."""
    said = []
    if not history.run["verified"]:
        said.append(
            "UNVERIFIED: generated code runs without isolation on this machine "
            f"(tier {history.run['tier']}); it could have made its score up. "
            f"`{command('doctor')}` tells how to mend it."
        )
    if history.paper_protocol:
        said.append(f"{PAPER_PROTOCOL}: the test images also choose the pipelines, so the test score is optimistic.")
    if history.codes:
        commits = [history.run["commit"], *(code["commit"] for code in history.codes)]
        known = f" (commits {', '.join(commits)})" if all(commits) else ""
        said.append(f"The code of improve changed in the middle of this run{known}.")
    return [one_line(text) for text in said]


def data_findings(history: History) -> list[str]:
    """What the audit of the images warns of, a sentence each, then how many notes there are."""
    audit = history.data_audit
    if audit is None:
        return []
    accepted = {True: "accepted: ", False: ""}
    said = [
        f"{accepted[finding['code'] in audit['accepted']]}{finding['what']}"
        for finding in audit["findings"]
        if finding["severity"] != "note"
    ]
    notes = len(audit["findings"]) - len(said)
    more = [f"{count(notes, 'note')} on the images in the page"] if notes else []
    return [one_line(text) for text in (*said, *more)]


def doubt(history: History) -> str:
    """What follows each score of the run: nothing, or that it is unverified, or selected on the test set."""
    unverified = "" if history.run["verified"] else ", unverified"
    return unverified + (f", {PAPER_PROTOCOL}" if history.paper_protocol else "")


def best_so_far(history: History) -> str:
    """ "67.1% (65.0–69.1%), iteration 1", of the selection images."""
    best = history.iteration(history.best)
    if best is None or best.score is None or best.accuracy is None:
        return "no score yet"
    ends = interval(best.score["low"], best.score["high"])
    return f"{percent(best.accuracy)} ({ends}){doubt(history)}, {history.where(best.number)}"


def cost(history: History) -> str:
    """ "12.3k tokens · 0.0421 USD"."""
    tokens = history.tokens
    return f"{short_count(tokens['input'] + tokens['output'])} tokens · {money(history.usd, history.rule_based)}"


def tokens_used(history: History) -> str:
    """ "41,000 read (9,000 of them cached), 4,210 written (1,200 of them reasoning)"; "" if none was used."""
    tokens, said = history.tokens, []
    for name, verb, part in (("input", "read", "cached"), ("output", "written", "reasoning")):
        share = f" ({tokens[part]:,} of them {part})" if tokens[part] else ""
        said.append(f"{tokens[name]:,} {verb}{share}")
    return ", ".join(said) if history.costs.total_tokens else ""


def unpriced(history: History) -> str:
    """Of which models the price is not known, and what the others cost; "" if all prices are known."""
    costs = history.costs
    if not costs.unpriced:
        return ""
    rest = f"; the calls of known price cost {money(costs.paid, False)}" if costs.paid else ""
    return one_line(f"the price of {', '.join(costs.unpriced)} is not known, so it is not counted{rest}")


def replays(history: History) -> str:
    """How the replies of a cassette were found; "" if the models were asked."""
    found = [call["replay"] for call in history.replayed]
    if not found:
        return ""
    by_step = found.count("step")
    how = f"{len(found) - by_step:,} of {count(len(found), 'reply', 'replies')} found by the same prompt"
    steps = f", {by_step:,} by role and step, because the prompt differed" if by_step else ""
    return f"{how}{steps}; tokens are those recorded, and nothing was asked or paid"


def asking(history: History) -> list[str]:
    """What people should know of how the models were asked, a sentence each; nothing if all went as it should."""
    told = (*history.servers, *history.calls)
    said = list(dict.fromkeys(each["said"] for each in told if each.get("said")))
    if history.rate_limited:
        often = count(history.rate_limited, "time")
        said.append(f"the provider's rate limit was hit {often} (HTTP 429); llm.requests_per_minute=… keeps below it")
    if history.unread:
        replies = count(history.unread, "reply", "replies")
        said.append(f"{replies} broke off and could not be read: paid, and counted at the most that they may have cost")
    return [one_line(text) for text in said]


def tested(history: History, test: TestRecord) -> str:
    """ "test accuracy of the best pipeline: 81.3% (95% interval 80.1–82.5%)"."""
    name = f"test accuracy of the {test['which']} pipeline"
    if test["failure"]:
        return f"{name}: none ({one_line(test['failure']['message'])})"
    return f"{name}: {percent(test['accuracy'])} (95% interval {interval(test['low'], test['high'])}){doubt(history)}"


def finished(history: History) -> str:
    assert history.finished is not None
    return f"the run has ended: {clean(history.finished['reason'])}"


def both_tests(history: History) -> tuple[TestRecord, TestRecord] | None:
    """The first and the best pipeline's test scores, if both are valid."""
    first, best = history.first_test, history.best_test
    return (first, best) if first and best and not first["failure"] and not best["failure"] else None


def comparison(history: History) -> str:
    """One honest sentence on first against best on the test images."""
    if history.best_test and history.best_test["iteration"] == 0:
        if not history.planned:
            return "There was one pipeline, so there is nothing to compare it with."
        if not history.refines:
            return "No further pipeline did better on the selection images: the first one is the best."
        return "No change was accepted: the first pipeline is the best one."
    tests = both_tests(history)
    if tests is None:
        return "The first and the best pipeline cannot be compared: one of them has no test score."
    found = gained(history)
    assert found is not None
    ends = f"95% interval {100 * found['low']:+.1f} to {100 * found['high']:+.1f}"
    said = f"{100 * found['effect']:+.1f} percentage points ({ends}, {_covered(found)})"
    if found["low"] > 0:
        return f"{said}: the best pipeline is better."
    if found["high"] < 0:
        return f"{said}: the best pipeline on the selection images is worse on the test images."
    return f"{said}: the difference may be luck."


def gained(history: History) -> GainRecord | None:
    """What the best pipeline gained over the first on the test images; None if they cannot be compared.

    Of runs of earlier versions, over the images alone.
    """
    tests = both_tests(history)
    if tests is None or tests[0]["iteration"] == tests[1]["iteration"]:
        return None
    if history.claims and history.claims["gain"]:
        return history.claims["gain"]
    first, best = (Score(test["correct"], test["total"], test["low"], test["high"]) for test in tests)
    return cast(GainRecord, dataclasses.asdict(gain_of_scores(best, first)))


def _covered(found: GainRecord) -> str:
    if not found["covers_training"]:
        return "over the images alone: one training each, whose luck is not covered"
    ours, theirs = found["trainings"]
    return f"over images and training seeds: {count(ours, 'training')} against {theirs}"


def component_gains(history: History) -> str:
    """ "model +5.9 (+2.1 to +9.7), data +0.4 (−1.8 to +2.6)": points gained on the selection images; "" if unknown."""
    found = history.claims["components"] if history.claims else {}
    parts = sorted(found.items(), key=lambda item: -item[1]["effect"])
    return ", ".join(
        f"{name} {100 * one['effect']:+.1f} ({100 * one['low']:+.1f} to {100 * one['high']:+.1f})"
        for name, one in parts
    )


def ensemble_tested(history: History) -> str:
    """ "77.9% accuracy, 95% interval 76.6–79.2%: the mean of 3 trainings, as delivered"; "" if there is none."""
    found = history.ensemble
    if found is None:
        return ""
    return f"{with_interval(found)}{doubt(history)}: the mean of {len(found['members'])} trainings, as delivered"


def refit_tested(history: History) -> str:
    """ "78.3% accuracy, 95% interval 77.0–79.5%: trained once more, on all images but the test images, as delivered".

    "" if there is none.
    """
    found = history.refit
    if found is None:
        return ""
    if found["failure"]:
        return f"no score: {one_line(found['failure']['message'])}"
    return f"{with_interval(found)}{doubt(history)}: trained once more, on all images but the test images, as delivered"


def with_interval(found: TestRecord | MemberRecord | EnsembleRecord) -> str:
    """ "77.9% accuracy, 95% interval 76.6–79.2%"."""
    return f"{percent(found['accuracy'])} accuracy, 95% interval {interval(found['low'], found['high'])}"


def accepted_sentence(history: History) -> str:
    """ "3 of 8 changes (1 kept unproved, 2 rejected, 1 within noise, 1 failed)"."""
    if not history.judged:
        return f"no {_try(history)} was tried"
    others = not_accepted(history)
    return f"{history.count(Verdict.ACCEPTED) or 'none'} of {tries(history)}{f' ({others})' if others else ''}"


def tries(history: History) -> str:
    """ "8 changes", or "8 further pipelines" where none builds on another."""
    return count(len(history.judged), _try(history))


def _try(history: History) -> str:
    return "change" if history.refines else "further pipeline"


def not_accepted(history: History) -> str:
    """ "1 kept unproved, 2 rejected, 1 within noise, 1 failed"."""
    names = (
        (Verdict.KEPT, "kept unproved"),
        (Verdict.SURPASSED, "surpassed"),
        (Verdict.REJECTED, "rejected"),
        (Verdict.WITHIN_NOISE, "within noise"),
        (Verdict.FAILED, "failed"),
    )
    return ", ".join(f"{history.count(verdict)} {name}" for verdict, name in names if history.count(verdict))


def delivered(history: History) -> str:
    """Whether what is delivered gives the answers that were scored; "" if nobody looked."""
    record = history.delivered
    if record is None:
        return ""
    if record["note"]:
        return f"best/ cannot predict: {one_line(record['note'])}"
    images = f"{record['images']} {record.get('split', 'selection')} images"
    if record["differing"]:
        return f"best/ answers {record['differing']} of {images} otherwise than was scored"
    return f"best/ gave the scored answers again, for all {images}"
