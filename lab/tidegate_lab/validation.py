"""Refuses manifests that the mesh would refuse, before anything of them is in force."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tidegate.config.sources.files import load_paths
from tidegate.errors import Rejected


def validate(files: Sequence[Path]) -> None:
    """Raises Rejected with one line ``FILE:LINE: error ...`` for each error.

    Each document is judged by itself: what it refers to may have been applied before.
    """
    told = (change for changes in load_paths(list(files)) for change in changes)
    errors = sorted({str(problem) for change in told for problem in change.problems if problem.is_error})
    if errors:
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        raise Rejected("manifests", f"{count}, so nothing was applied:\n" + "\n".join(errors))
