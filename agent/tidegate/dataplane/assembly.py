"""The data plane of one node, put together: who knows whom. The appliers that there are today, by ORDER."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tidegate.dataplane.appliers.certificates import CertificatesApplier
from tidegate.dataplane.appliers.destinations import DestinationsApplier, Wanted
from tidegate.dataplane.appliers.dns import NodeDns
from tidegate.dataplane.appliers.enrolment import EnrolmentApplier
from tidegate.dataplane.appliers.envoy import EnvoyResources
from tidegate.dataplane.appliers.inbound import InboundApplier
from tidegate.dataplane.appliers.policies import GuardsApplier, PoliciesApplier
from tidegate.dataplane.appliers.relay import RelayServices
from tidegate.dataplane.capture import Inside, SandboxRecords
from tidegate.dataplane.cycle import Cycle
from tidegate.dataplane.devices import Certificates, DestinationRow, Dns, Envoy, KernelTables, Relay
from tidegate.dataplane.earlier import EarlierConnections
from tidegate.dataplane.order import FROM_ELSEWHERE, PAST_ENVOY, PAST_INBOUND, TO_ENVOY
from tidegate.dataplane.resolver import THREADS, Lookup, Resolver, lookup
from tidegate.dataplane.sandboxes import Sandboxes
from tidegate.dataplane.shadow import Shadow
from tidegate.model.mesh import Mesh
from tidegate.model.plan.kernel import Destination
from tidegate.model.tier import Tier
from tidegate.runtime.clock import Clock
from tidegate.runtime.latest import Latest
from tidegate.runtime.worker import Worker

POD_THREADS = 8  # pods whose namespaces are entered at the same time


def assemble(
    *,
    node: str,
    config: Latest[Mesh | None],
    tables: KernelTables,
    relay: Relay,
    envoy: Envoy,
    dns: Dns | None = None,
    certificates: Certificates | None = None,
    certificates_ahead: bool = False,
    inside: Inside,
    records: SandboxRecords,
    disk: Worker,
    clock: Clock,
    jitter: Callable[[], float],
    ask: Lookup = lookup,
    relay_cgroup: int = 0,
    ended: Callable[[], None] = lambda: None,
) -> Cycle:
    """A cycle with all its appliers. dns: None = pods ask their own resolvers. certificates: None = nobody
    issues any; certificates_ahead: see CertificatesApplier. disk: the thread of records. ask:
    resolves a name. jitter: in [0, 1), spreads what is tried again. relay_cgroup: id of the relay's group.
    ended: called on a thread for each connection of before a pod's policies that they end."""
    wake = asyncio.Event()
    shadow = Shadow(tables, Worker("kernel tables"))
    sandboxes = Sandboxes(relay, inside, records, Worker("pods", POD_THREADS), disk, clock, jitter, wake.set)
    services = RelayServices(relay, sandboxes, shadow, clock, jitter)
    earlier = EarlierConnections(sandboxes, inside, Worker("sockets of pods"), relay_cgroup, ended)
    resources = EnvoyResources(envoy, shadow, clock, certificates)

    def past_envoy(row: Destination, held: DestinationRow | None, generation: int) -> str:
        waits = row.tier is Tier.FASTPATH and not services.serves(row.service)
        return "the relay does not serve it yet" if waits else ""

    def to_envoy(row: Destination, held: DestinationRow | None, generation: int) -> str:
        known = (held is not None and held[0] is Tier.ENVOY) or resources.seen >= generation
        return "" if known else "Envoy does not serve it yet"

    wanted = Wanted()
    names = NodeDns(dns, sandboxes, clock, jitter, wake.set) if dns else None
    naming = names.is_telling if names else lambda _: False
    enrolment = EnrolmentApplier(sandboxes, shadow, resources.listener, clock, jitter, naming)
    appliers = (
        *((CertificatesApplier(certificates, certificates_ahead),) if certificates else ()),
        PoliciesApplier(relay, clock, jitter),
        services,
        DestinationsApplier(wanted, shadow, clock, jitter, name=PAST_ENVOY, missing=past_envoy),
        InboundApplier(shadow, clock, jitter, name=PAST_INBOUND, listener=resources.listener),
        resources,
        DestinationsApplier(wanted, shadow, clock, jitter, name=TO_ENVOY, missing=to_envoy),
        InboundApplier(shadow, clock, jitter, name=FROM_ELSEWHERE, listener=resources.listener),
        GuardsApplier(shadow, earlier, clock, jitter),
        *((names,) if names else ()),
        enrolment,
    )
    return Cycle(
        node=node,
        config=config,
        sandboxes=sandboxes,
        shadow=shadow,
        enrolment=enrolment,
        appliers=appliers,
        clock=clock,
        jitter=jitter,
        resolver=Resolver(Worker("names", THREADS), clock, jitter, ask),
        wake=wake,
        news=(
            envoy.progress,
            relay.process,
            *((dns.process,) if dns else ()),
            *((certificates.held,) if certificates else ()),
        ),
    )
