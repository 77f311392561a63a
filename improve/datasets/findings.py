"""What the audit says of the images: findings, how severe they are, and which of them end a run before it starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from improve.config.invocation import command, typed_settings
from improve.errors import DataError

# stop: a result would mean nothing. warning: it may mean less than it seems. note: worth knowing.
Severity = Literal["stop", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("stop", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One sentence on the images. `what` goes on the dataset card, so it tells nothing of single hidden images.

    `fix`: what to do, "" if nothing. `examples` name files and classes: for people only.
    """

    code: str  # in `config.ACCEPTABLE` if the severity may be "stop"
    severity: Severity
    what: str
    fix: str = ""
    examples: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "examples": list(self.examples)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Finding:
        return cls(**{**values, "examples": tuple(values["examples"])})


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """The most severe ones first, else in their order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def stopping(findings: Iterable[Finding], accepted: Sequence[str]) -> list[Finding]:
    """Those that make a result meaningless and are not accepted."""
    return [finding for finding in findings if finding.severity == "stop" and finding.code not in accepted]


def require_sound(findings: Iterable[Finding], accepted: Sequence[str]) -> None:
    """Raises `DataError` if anything makes a result meaningless and is not accepted (`dataset.accept`)."""
    stops = stopping(findings, accepted)
    if not stops:
        return
    names = ",".join(sorted({*accepted, *(finding.code for finding in stops)}))
    fixes = "; ".join(finding.fix for finding in stops)
    audit = command("data", "check", *typed_settings("dataset"))
    raise DataError(
        " ".join(f"{finding.what[:1].upper()}{finding.what[1:]}." for finding in stops),
        f"{fixes}; or accept it: 'dataset.accept=[{names}]' ({audit} lists all findings)",
    )
