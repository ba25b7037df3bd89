"""have/want -> plan. Pure, generic, shared by every applier."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Difference(Generic[K, V]):
    """What must be written and what must go so that have becomes want."""

    put: tuple[tuple[K, V], ...]
    remove: tuple[K, ...]

    def __bool__(self) -> bool:
        return bool(self.put or self.remove)


def diff(have: Mapping[K, V], want: Mapping[K, V]) -> Difference[K, V]:
    """Rows to put (new or different) and keys to remove, each in the order of its mapping."""
    return Difference(
        put=tuple((key, value) for key, value in want.items() if key not in have or have[key] != value),
        remove=tuple(key for key in have if key not in want),
    )
