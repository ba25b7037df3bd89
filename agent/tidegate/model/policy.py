"""PeerAuthentication and AuthorizationPolicy as they are written; what they become is in model/authorization.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from tidegate.model.authorization import NOTHING_SAID, PolicyMatch
from tidegate.model.kube import NO_AGE, Age
from tidegate.model.net import IPNetwork
from tidegate.model.origin import Origin


class MutualTls(Enum):
    """What a workload asks of those who connect to it."""

    UNSET = "UNSET"  # what holds for the namespace, or else for the mesh
    DISABLE = "DISABLE"
    PERMISSIVE = "PERMISSIVE"  # with an identity or without one; what holds where nobody says anything
    STRICT = "STRICT"  # with an identity only


class PolicyAction(Enum):
    ALLOW = "ALLOW"
    DENY = "DENY"
    AUDIT = "AUDIT"
    CUSTOM = "CUSTOM"  # somebody else is asked: not supported yet


@dataclass(frozen=True, slots=True)
class PeerAuthentication:
    """selector: empty = all workloads of the namespace, in the root namespace of the mesh."""

    namespace: str
    name: str
    mode: MutualTls = MutualTls.UNSET
    selector: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[int, MutualTls] = field(default_factory=dict)  # those of the workload; only with a selector
    age: Age = NO_AGE
    origin: Origin = field(default=Origin("PeerAuthentication", "", ""), compare=False)


@dataclass(frozen=True, slots=True)
class Alternative:
    """One `source`, one `operation`, or one `when`. http: the fields of it that only a request of HTTP has.

    remote_ips: who the client is said to be (X-Forwarded-For, PROXY protocol); of a connection on which nobody says it,
    it is the address that it comes from, so these are conditions beside those of `match` on the same address.
    """

    match: PolicyMatch = NOTHING_SAID
    remote_ips: tuple[IPNetwork, ...] = ()
    not_remote_ips: tuple[IPNetwork, ...] = ()
    http: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """One of the sources (none: anybody), one of the operations (none: anything) and all conditions have to fit."""

    sources: tuple[Alternative, ...] = ()
    operations: tuple[Alternative, ...] = ()
    conditions: tuple[Alternative, ...] = ()

    @property
    def http(self) -> tuple[str, ...]:
        """What it asks of requests only, each field once."""
        every = (*self.sources, *self.operations, *self.conditions)
        return tuple(sorted({name for one in every for name in one.http}))


@dataclass(frozen=True, slots=True)
class AuthorizationPolicy:
    """selector: None = no selector at all, so the whole namespace, in the root namespace the mesh. One without labels
    means the same workloads."""

    namespace: str
    name: str
    action: PolicyAction = PolicyAction.ALLOW
    rules: tuple[PolicyRule, ...] = ()
    selector: Mapping[str, str] | None = None
    targeted: bool = False  # for the waypoints and services that targetRefs name, so for no workload
    dry_run: bool = False
    age: Age = NO_AGE
    origin: Origin = field(default=Origin("AuthorizationPolicy", "", ""), compare=False)
