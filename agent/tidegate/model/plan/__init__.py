"""What compile() promises to the appliers: one frozen image of everything that must be true on this node.

Values only. Two compilations of equal inputs give equal plans, so appliers diff by equality.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidegate.model.identity import Identity
from tidegate.model.plan.envoy import Resources
from tidegate.model.plan.kernel import Destination
from tidegate.model.plan.names import HostNames
from tidegate.model.plan.pods import PodPlan
from tidegate.model.plan.policy import NO_POLICIES, PolicyTable
from tidegate.model.plan.relay import L4Service


@dataclass(frozen=True, slots=True)
class Plan:
    generation: int
    pods: tuple[PodPlan, ...] = ()
    destinations: tuple[Destination, ...] = ()
    l4: tuple[L4Service, ...] = ()
    services: Mapping[int, str] = field(default_factory=dict)  # number -> FQDN:port
    names: tuple[HostNames, ...] = ()  # that the node's DNS answers
    views: Mapping[int, str] = field(default_factory=dict)  # netns cookie -> whose names, if not the namespace's
    identities: frozenset[Identity] = frozenset()  # whose certificates are needed here
    accounts: frozenset[Identity] = frozenset()  # of all pods in the mesh here: whose certificates may be needed next
    trust_domain: str = ""  # of both
    policies: PolicyTable = NO_POLICIES
    envoy: Resources = field(default_factory=dict)  # LISTENERS.. -> name -> resource
