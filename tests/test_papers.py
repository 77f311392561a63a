"""CONTRIBUTING, CHANGELOG and CITATION are true: what they name exists, and they know the version."""

from __future__ import annotations

import re

import yaml

from improve import __version__
from tests.support.paths import ROOT


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_what_contributing_names_exists() -> None:
    named = re.findall(r"`((?:improve|conf|tests|scripts|\.ci)/[\w/.]+)`", text("CONTRIBUTING.md"))
    assert len(named) > 15
    for path in named:
        if "NAME" not in path:
            assert (ROOT / path).exists(), path


def test_the_changelog_has_this_version_or_is_ahead_of_it() -> None:
    versions = re.findall(r"^## \[(.+)\]", text("CHANGELOG.md"), re.MULTILINE)
    assert versions[0] in ("Unreleased", __version__)


def test_the_citation_names_paper_and_software() -> None:
    citation = yaml.safe_load(text("CITATION.cff"))
    assert citation["version"] == __version__
    assert citation["license"] == "Apache-2.0"
    paper = citation["preferred-citation"]
    assert "IMPROVE: Iterative Model Pipeline Refinement" in paper["title"]
    assert [author["family-names"] for author in paper["authors"]] == ["Xue", "Chen", "Huang", "Ji", "Lee", "Wang"]
