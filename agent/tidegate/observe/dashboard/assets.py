"""The static files of the page, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
_FILES = {
    "/": ("index.html", "text/html"),
    "/dashboard/style.css": ("style.css", "text/css"),
    "/dashboard/app.js": ("app.js", "text/javascript"),
    "/dashboard/dom.js": ("dom.js", "text/javascript"),
    "/dashboard/panels.js": ("panels.js", "text/javascript"),
    "/dashboard/icon.svg": ("icon.svg", "image/svg+xml"),
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is served; charset is UTF-8."""

    content_type: str
    body: bytes


def assets() -> Mapping[str, Asset]:
    """URL path -> file. Raises OSError if the installation lacks one."""
    return {path: Asset(kind, (_HERE / name).read_bytes()) for path, (name, kind) in _FILES.items()}
