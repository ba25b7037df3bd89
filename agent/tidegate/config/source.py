"""What a configuration source is: something that tells its whole content again each time that it changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from tidegate.config.documents import ParsedFile
from tidegate.model.mesh import Problem


@dataclass(frozen=True, slots=True)
class Loaded:
    """One complete reading of a source."""

    files: tuple[ParsedFile, ...] = ()
    revision: int = 0
    problems: tuple[Problem, ...] = ()  # of the source itself, for example a file that cannot be read


class Source(Protocol):
    """Never ends by itself; the first value comes when the content is complete."""

    def watch(self) -> AsyncIterator[Loaded]: ...


def combine(readings: Sequence[Loaded]) -> Loaded:
    """Readings of several sources as one."""
    return Loaded(
        files=tuple(f for one in readings for f in one.files),
        revision=max((one.revision for one in readings), default=0),
        problems=tuple(p for one in readings for p in one.problems),
    )
