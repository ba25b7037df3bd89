"""Which sandboxes of this node become members of the mesh."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.model.names import WorkloadId
from tidegate.model.plan.kernel import GuardRow, InboundPort


@dataclass(frozen=True, slots=True)
class PodPlan:
    """What one sandbox of this node should be."""

    id: WorkloadId
    enrolled: bool
    reason: str  # why (not), one phrase for `tidegate status`
    needs_envoy: bool  # a listener resource for it is in the snapshot
    listener: str = ""  # name of that resource
    netns_cookie: int = 0  # of the sandbox
    registry_only: bool = False  # what nobody in the registry has is refused
    scope: int = 0  # which rows of destinations are its own (DestinationKey); 0 = it sees everything
    inbound: str = ""  # name of the listener in front of its own ports
    inbound_ports: frozenset[InboundPort] = frozenset()  # what leads there
    guards: frozenset[GuardRow] = frozenset()  # what leads to the relay, where policies are for it
