"""Who may connect to the pods of this node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tidegate.model.authorization import Authorization


@dataclass(frozen=True, slots=True)
class PolicyTable:
    """A policy's number is its place, from 1 on. A pod that is not in `workloads` is refused everything: nobody said
    what holds for it. One of which nothing is said has no numbers."""

    policies: tuple[Authorization, ...] = ()
    workloads: Mapping[int, tuple[int, ...]] = field(default_factory=dict)  # netns cookie -> numbers, ascending
    names: Mapping[int, str] = field(default_factory=dict)  # netns cookie -> spiffe://...: who calls from there


NO_POLICIES: Final = PolicyTable()
