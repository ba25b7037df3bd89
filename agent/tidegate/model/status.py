"""What became of a snapshot, per applier and per item: the way back from the data plane to people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidegate.model.names import WorkloadId


@dataclass(frozen=True, slots=True)
class Failure:
    """One item that could not be applied; the others were."""

    item: str
    reason: str
    origins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ApplierStatus:
    generation: int = 0
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class PodStatus:
    """Enrolment of one sandbox. state: enrolled, pending, failed or not-enrolled."""

    id: WorkloadId
    state: str
    reason: str
    netns_cookie: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    generation: int = 0  # newest snapshot that went through every applier
    revision: int = 0  # revision of the configuration that it was compiled from
    appliers: Mapping[str, ApplierStatus] = field(default_factory=dict)
    pods: tuple[PodStatus, ...] = ()
