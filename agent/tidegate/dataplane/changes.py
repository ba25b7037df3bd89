"""What differs between two plans. Pure. Items that compile gave back as the same object are not looked at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from tidegate.model.plan import Plan
from tidegate.model.plan.kernel import Destination
from tidegate.model.plan.names import HostNames
from tidegate.model.plan.pods import PodPlan
from tidegate.model.plan.relay import L4Service

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Delta(Generic[T]):
    """put: objects that were not there before. gone: objects that no longer are; one may be put anew, and equal."""

    put: tuple[T, ...] = ()
    gone: tuple[T, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.put or self.gone)


@dataclass(frozen=True, slots=True)
class Changes:
    """From one plan to another."""

    destinations: Delta[Destination] = Delta()
    l4: Delta[L4Service] = Delta()
    pods: Delta[PodPlan] = Delta()
    names: Delta[HostNames] = Delta()


def delta(before: Iterable[T], after: Iterable[T]) -> Delta[T]:
    """Compares identities: two equal objects are a change, which appliers then find to be none."""
    if before is after:
        return Delta()
    before, after = tuple(before), tuple(after)
    had, has = {id(item) for item in before}, {id(item) for item in after}
    return Delta(
        tuple(item for item in after if id(item) not in had), tuple(item for item in before if id(item) not in has)
    )


def changes(before: Plan, after: Plan) -> Changes:
    """What must be looked at to get from one plan to another; nothing if they are the same object."""
    if before is after:
        return Changes()
    return Changes(
        delta(before.destinations, after.destinations),
        delta(before.l4, after.l4),
        delta(before.pods, after.pods),
        delta(before.names, after.names),
    )
