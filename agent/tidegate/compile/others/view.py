"""The mesh as one client sees it: registry and rules from where it is, names of services as it may spell them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tidegate.compile.derive import Read
from tidegate.compile.envoy.clusters import ClusterKey
from tidegate.compile.facts import Facts
from tidegate.compile.others.client import Client, Flavour
from tidegate.compile.outbound.aliases import spellings
from tidegate.compile.outbound.routes import RouteCompiler
from tidegate.compile.registry import Registry, endpoints_known
from tidegate.compile.rules import DestinationPolicy, Rules
from tidegate.compile.tables import HERE
from tidegate.compile.visibility import Source, registry_only, sees_service, sidecar_of
from tidegate.model.kube import Service, ServicePort
from tidegate.model.names import ServiceName
from tidegate.model.traffic import Balancing, TrafficPolicy


class _Choosing(Rules):
    """Rules for a client whose proxy does not know what was dialled: it has to choose, whatever a rule says."""

    def policy(self, service: ServiceName, client: str) -> DestinationPolicy:
        found = super().policy(service, client)
        subsets = tuple(replace(s, policy=_choosing(s.policy)) for s in found.subsets)
        return replace(found, policy=_choosing(found.policy), subsets=subsets)


def _choosing(policy: TrafficPolicy) -> TrafficPolicy:
    chosen = policy.load_balancer
    passed = chosen is not None and chosen.balancing is Balancing.PASSTHROUGH
    ports = {port: _choosing(inner) for port, inner in policy.ports.items()}
    return replace(policy, load_balancer=None if passed else chosen, ports=ports)


class ClientView:
    """Registry, rules and routes of one client."""

    def __init__(self, facts: Facts, client: Client) -> None:
        here = {"": client.node} if client.node else {}
        self.read = Read({**facts.tables, HERE: here})
        self.facts = facts
        self.client = client
        self.registry = Registry(self.read)
        self.rules = Rules(self.read) if client.captured else _Choosing(self.read)
        labels = dict(client.labels)
        # Sidecars are for workloads, and a gateway's proxy is none of those.
        sidecar = None if client.flavour is Flavour.ROUTER else sidecar_of(self.read, client.namespace, labels)
        self.source = Source(client.namespace, labels, sidecar)
        self.routes = RouteCompiler(self.registry, self.rules)
        self.services = tuple(sorted(facts.services.values(), key=lambda s: (s.age, s.id)))  # the oldest first

    def sees(self, service: Service, number: int) -> bool:
        """Whether a service port exists for the client (Sidecar, exportTo)."""
        return sees_service(self.read, self.source, service, number)

    def served(self, service: Service, port: ServicePort) -> bool:
        """Whether it is known who is behind a port, or where rules lead its requests."""
        known = bool(service.external_name) or endpoints_known(self.read, service)
        return known or (port.protocol.is_http and bool(self.rules.owners(service.id.fqdn)))

    def ports(self) -> Iterator[tuple[Service, ServicePort]]:
        """Every service port that the client can use, of the oldest service first; of a number said twice the first."""
        for service in self.services:
            for number in dict.fromkeys(port.port for port in service.tcp_ports):
                port = service.port(number)
                if port is not None and self.sees(service, number) and self.served(service, port):
                    yield service, port

    def hosts(self, service: Service) -> tuple[str, ...]:
        """How the client may spell a service's name."""
        if service.id.host:
            return (service.id.host,)  # of a ServiceEntry, whose own name is no host
        return tuple(dict.fromkeys(spellings(service.id, self.client.namespace)))

    @property
    def any_address(self) -> str:
        """What stands for every address of the client."""
        own = self.client.addresses
        return "::" if own and all(address.version == 6 for address in own) else "0.0.0.0"

    @property
    def registry_only(self) -> bool:
        """Whether what nobody in the registry has is refused."""
        return registry_only(self.read, self.source.sidecar)

    def named(self, host: str) -> Service | None:
        """The service that a host means to the client."""
        host = host.lower().rstrip(".")
        if (found := self.facts.services.get(host)) is not None:
            return found
        name, _, rest = host.partition(".")
        namespace, _, after = rest.partition(".")
        if after not in ("", "svc"):
            return None
        return self.facts.services.get(ServiceName(namespace or self.client.namespace, name).fqdn)

    def shown(self, key: ClusterKey) -> str:
        """Name of a cluster as the client gets it: Istio's, since each client has its own policy under that name."""
        headless = key.lb_headless and self.client.captured
        return str(ClusterKey(key.fqdn, key.port, key.subset, "", headless))

    def meant(self, name: str) -> ClusterKey | None:
        """The key of a name that shown() gave; None if it is no such name."""
        key = ClusterKey.parse(name)
        service = self.facts.services.get(key.fqdn) if key else None
        if key is None or service is None or name != self.shown(key):
            return None
        if not self.sees(service, key.port):
            return None
        scope = self.rules.policy_scope(service.id, self.source)
        return replace(key, client=scope, lb_headless=key.lb_headless or not self.client.captured)

    @property
    def own_secrets(self) -> bool:
        """Whether clusters may begin TLS by Secrets of the client's namespace, as at a gateway."""
        return self.client.known and self.client.flavour is Flavour.ROUTER

    @property
    def grpc(self) -> bool:
        return self.client.flavour is Flavour.GRPC
