"""An HTTP request as far as routing can see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """path contains the query string. Names of headers are compared without case; authority "" = the dialled host."""

    method: str = "GET"
    path: str = "/"
    headers: Mapping[str, str] = field(default_factory=dict)
    authority: str = ""
    scheme: str = "http"
