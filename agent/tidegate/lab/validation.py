"""Refuses manifests that the mesh would refuse, before anything of them is in force."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def validate(files: Sequence[Path]) -> None:
    """Raises Rejected naming file and line of every error."""
