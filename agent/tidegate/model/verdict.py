"""What Envoy says of a rule that it was shown alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """rule: the very object that was judged, so that nothing is said of a newer version; refused: why, or nothing."""

    rule: object
    refused: str = ""
