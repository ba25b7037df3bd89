"""Files that somebody else reads while they change."""

from __future__ import annotations

import os
from pathlib import Path


def replace(path: Path, text: str) -> None:
    """Write it so that a reader sees the old or the new text, never an empty file or a part: that would be a change of
    its own."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    os.replace(new, path)
