"""What a configuration source tells: one object after the other, and never the world again.

A source yields batches. Within a batch order has no meaning; a batch that holds InSync leaves a state that is whole.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from tidegate.config.documents import Document
from tidegate.model.mesh import Problem
from tidegate.model.names import ObjectKey


@dataclass(frozen=True, slots=True)
class Upsert:
    """The object is new, or says something else than before."""

    document: Document

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self.document.problems


@dataclass(frozen=True, slots=True)
class Delete:
    """The source does not have the object any more."""

    key: ObjectKey
    problems: ClassVar[tuple[Problem, ...]] = ()


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong with a part of the source beyond its objects. Replaces what was said of that part before."""

    part: str  # name of the part within the source, for example a relative path
    file: str  # the part's name as reported to the user
    problems: tuple[Problem, ...] = ()
    incomplete: bool = False  # something in it cannot be read, so absence of an object means nothing


@dataclass(frozen=True, slots=True)
class InSync:
    """Everything that the source has was told."""

    revision: int = 0  # number that the content carries, 0 = none
    problems: ClassVar[tuple[Problem, ...]] = ()


# Each says in `problems` what is wrong by itself; what only shows beside other objects is found by the store.
Change = Upsert | Delete | Findings | InSync


class ConfigSource(Protocol):
    """Never ends by itself; the first InSync comes when the content is complete."""

    def watch(self) -> AsyncIterator[Sequence[Change]]: ...
