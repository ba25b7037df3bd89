"""What became of a plan, per applier and per item: the way back from the data plane to people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tidegate.model.names import WorkloadId


class State(StrEnum):
    """What became of one item of a plan."""

    APPLIED = "applied"
    PENDING = "pending"  # waits for something that is under way; nothing is wrong
    FAILED = "failed"  # was refused; it is tried again by its own back-off


@dataclass(frozen=True, slots=True)
class Outcome:
    """One item of one applier. origins are the objects that it was made from, for people."""

    item: str
    state: State
    reason: str = ""
    origins: tuple[str, ...] = ()


Outcomes = tuple[Outcome, ...]  # of items that are not applied, and of those that are worth a word


@dataclass(frozen=True, slots=True)
class ApplierStatus:
    """generation is the one that this applier serves: an older one while it waits for, or refuses, the newest."""

    generation: int = 0
    outcomes: Outcomes = ()

    def of(self, state: State) -> Outcomes:
        return tuple(outcome for outcome in self.outcomes if outcome.state is state)

    @property
    def failures(self) -> Outcomes:
        return self.of(State.FAILED)


class PodState(StrEnum):
    """Enrolment of one sandbox."""

    ENROLLED = "enrolled"
    NOT_ENROLLED = "not-enrolled"  # it is not to be in the mesh
    PENDING = "pending"
    FAILED = "failed"

    @property
    def settled(self) -> bool:
        """Whether the pod may start: it is as the configuration wants it."""
        return self in (PodState.ENROLLED, PodState.NOT_ENROLLED)


@dataclass(frozen=True, slots=True)
class PodStatus:
    id: WorkloadId
    state: PodState
    reason: str  # one phrase
    netns_cookie: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    generation: int = 0  # newest plan that every applier has dealt with: each item is in force or was refused
    revision: int = 0  # revision of the configuration that it was compiled from
    appliers: Mapping[str, ApplierStatus] = field(default_factory=dict)
    pods: tuple[PodStatus, ...] = ()
