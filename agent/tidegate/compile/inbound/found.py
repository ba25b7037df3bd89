"""Before which pods of this node Envoy stands. What did not change is the same object as before."""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.compile.envoy.patches.selection import Selection
from tidegate.compile.envoy.secrets import hosts_of_identities
from tidegate.compile.facts import Facts
from tidegate.compile.inbound.filtered import Inbound, InboundFilters
from tidegate.compile.inbound.mutual import with_mutual
from tidegate.compile.inbound.ports import served_ports
from tidegate.compile.visibility import Source
from tidegate.model.plan.kernel import InboundPort
from tidegate.model.workload import Sandbox

FoundInbound = Mapping[Sandbox, Inbound]
_NONE: FoundInbound = {}


class FindInbound:
    """Asked with one state of facts after the other."""

    def __init__(self) -> None:
        self._filters: tuple[tuple[object, ...], InboundFilters] = ((), InboundFilters())  # what it was made of, and it
        self._known: dict[Sandbox, tuple[tuple[object, ...], Inbound | None]] = {}
        self._mutual: tuple[object, frozenset[str]] = (None, frozenset())  # rules, hosts with mutual TLS of the mesh
        self._found: FoundInbound = _NONE

    def __call__(self, facts: Facts) -> FoundInbound:
        """By sandbox, those of enrolled pods only."""
        filters = self._filtered(facts)
        known, self._known = self._known, {}
        hosts, domains = self._mutual_hosts(facts), facts.mesh.config.trust_domains
        sidecars = any(s.ingress or s.inbound_pool for s in facts.mesh.sidecars)
        asked = bool(filters.selection) or sidecars or bool(hosts)
        for sandbox in facts.sandboxes if asked else ():
            pod = facts.pods.get(sandbox.id)
            if pod is None or not sandbox.capture.envoy4 or not facts.enrolment(sandbox.id).enrolled:
                continue
            selected = filters.of(Source(pod.id.namespace, pod.labels))
            ports = with_mutual(served_ports(facts.read, pod), hosts)
            made_of = (selected, ports, pod.ips, pod.origin, pod.service_account, domains)
            entry = known.get(sandbox)
            if entry is None or entry[0] != made_of:
                entry = (made_of, filters.before(sandbox, pod, ports, selected, (pod.origin,), domains))
            self._known[sandbox] = entry
        found = {sandbox: inbound for sandbox, (_, inbound) in self._known.items() if inbound is not None}
        if found.keys() != self._found.keys() or any(found[s] is not self._found[s] for s in found):
            self._found = found or _NONE
        return self._found

    def _mutual_hosts(self, facts: Facts) -> frozenset[str]:
        rules = facts.mesh.destination_rules
        if self._mutual[0] is not rules:
            self._mutual = rules, hosts_of_identities(rules)
        return self._mutual[1]

    def _filtered(self, facts: Facts) -> InboundFilters:
        mesh = facts.mesh
        made_of = (mesh.envoy_filters, mesh.refused_patches, mesh.config.root_namespace)
        if len(self._filters[0]) != len(made_of) or any(
            a is not b for a, b in zip(self._filters[0], made_of, strict=True)
        ):
            self._filters = made_of, InboundFilters(Selection(*made_of))
        return self._filters[1]


def rows(sandbox: Sandbox, inbound: Inbound) -> frozenset[InboundPort]:
    """What the kernel has to know."""
    versions = (4, 6) if sandbox.capture.envoy6 else (4,)
    return frozenset(InboundPort(sandbox.netns_cookie, port, v) for port in inbound.ports for v in versions)
