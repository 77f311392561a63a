"""Tests that need a network of sandboxes, skipped where there is no device for it."""

from __future__ import annotations

import pytest

from improve.errors import SandboxError
from improve.execution.cluster.network import require_device


def _lacking() -> str:
    try:
        require_device()
    except SandboxError as refused:
        return str(refused)
    return ""


needs_device = pytest.mark.skipif(bool(_lacking()), reason=_lacking() or "there is one")
