"""Files of a supervised program: written whole or not at all, logs that move up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

UNIX_PATH_MAX = 107  # bytes of a socket's path: sun_path without its final NUL


def write_private(path: Path, document: dict[str, Any]) -> str:
    """Write JSON with mode 0600, whole or not at all; returns the text."""
    text = json.dumps(document, indent=1, sort_keys=True) + "\n"
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    temporary.touch(mode=0o600)
    temporary.write_text(text)
    temporary.replace(path)
    return text


def rotate(path: Path, keep: int) -> None:
    """Move path to path.1, path.1 to path.2 and so on; the oldest of keep goes."""
    for number in range(keep, 0, -1):
        older = path if number == 1 else path.with_name(f"{path.name}.{number - 1}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number}"))
