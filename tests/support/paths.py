"""Where things lie in the repository."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"
ATTACKS = ROOT / "tests" / "attacks"
TEMPLATE = ROOT / "improve" / "pipeline" / "template"
