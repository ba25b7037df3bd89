"""Facts: the configuration joined with the sandboxes of this node, once, for everybody who asks.

A Pod that nobody wrote a status for (a container outside Kubernetes) gets its addresses and its readiness from its
sandbox; whether a sandbox is in the mesh is decided here, with the reason. compile, explain, telemetry and the admin
API read pods and services from Facts only, so they cannot differ in what they believe.

join() follows changes: with the facts of before it costs what changed, and what did not change is the same object.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from tidegate.compile import tables
from tidegate.compile.derive import Input, Read
from tidegate.compile.enrolment import Enrolment, enrolment
from tidegate.compile.entries import Entries, join_entries
from tidegate.compile.index import Draft, Groups, changes
from tidegate.compile.rule_tables import (
    join_destination_rules,
    join_foreign_rules,
    join_sidecars,
    join_targets,
    join_virtual_services,
)
from tidegate.compile.service_tables import JoinedPods, Services, join_services, join_slices
from tidegate.model.entry import Workload, WorkloadEntry
from tidegate.model.kube import EndpointSlice, Namespace, Node, Pod, Service, ServicePort, SliceEndpoint
from tidegate.model.mesh import Mesh
from tidegate.model.mesh_config import MeshConfig
from tidegate.model.names import WorkloadId
from tidegate.model.net import IPAddress
from tidegate.model.routing import Delegate, VirtualService
from tidegate.model.selectors import LabelPair, pairs
from tidegate.model.sidecar import Sidecar
from tidegate.model.traffic import DestinationRule
from tidegate.model.workload import Sandbox

NOTHING_RESOLVED: Final[Mapping[str, tuple[IPAddress, ...]]] = {}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of one ready server behind a service port."""

    pod: Pod | None  # None: somebody wrote the address down, and it is no pod's that we know
    address: IPAddress
    port: int
    node: str = ""
    zone: str = ""  # where somebody says it of the endpoint itself; else it is the node's
    workload: Workload | None = None  # what a ServiceEntry or WorkloadEntry says of it
    hinted: SliceEndpoint | None = None  # as it is written down, with hints for whom it is

    @property
    def weight(self) -> int:
        """Its share of the service's connections, among others; 1 if nobody says."""
        return (self.workload.weight if self.workload else 0) or 1

    @property
    def name(self) -> str:
        """NAMESPACE/NAME of the pod; empty if it is none."""
        return str(self.pod.id) if self.pod else ""

    @property
    def labels(self) -> Mapping[str, str]:
        """What subsets choose by."""
        return self.workload.labels if self.workload else self.pod.labels if self.pod else {}


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """Never written to after join() made it; read it from any thread."""

    mesh: Mesh
    sandboxes: tuple[Sandbox, ...]  # of this node, by pod and container id
    here: Mapping[str, str]  # "" -> name of this node; empty: not known
    nodes: Mapping[str, Node]
    pods: Mapping[WorkloadId, Pod]  # of the cluster, with what sandboxes lend them
    namespaces: Mapping[str, Namespace]
    services: Mapping[str, Service]  # by FQDN, Kubernetes' and those of ServiceEntries
    entries: Entries  # what ServiceEntries and WorkloadEntries say, whether or not it is used
    enrolments: Mapping[WorkloadId, Enrolment]  # of the pods that have a sandbox here
    pods_by_label: Mapping[LabelPair, tuple[Pod, ...]]  # by name
    pods_by_address: Mapping[IPAddress, tuple[Pod, ...]]  # by name; several on the host's network, or while one ends
    services_by_address: Mapping[IPAddress, tuple[Service, ...]]  # virtual addresses; the oldest first
    wide: Mapping[str, Service]  # of services those that are meant by connections to whole ranges, by FQDN
    pods_by_service: Mapping[str, tuple[Pod, ...]]  # FQDN -> pods that its selector names, ready or not, by name
    services_by_selector: Mapping[LabelPair, tuple[Service, ...]]  # by one pair of the selector
    workloads_by_service: Mapping[str, tuple[WorkloadEntry, ...]]  # FQDN -> those that its selector names, by name
    slices_by_service: Mapping[str, tuple[EndpointSlice, ...]]  # FQDN -> endpoints that somebody wrote down, by name
    slices_by_address: Mapping[IPAddress, tuple[EndpointSlice, ...]]  # of their endpoints
    # By tables.host_key() of a host, the oldest first; with the routes of those that they delegate to.
    virtual_services: Mapping[str, tuple[VirtualService, ...]]
    rules_by_target: Mapping[str, tuple[VirtualService, ...]]  # rules for pods, by FQDN to which they lead
    roots: Mapping[Delegate, tuple[VirtualService, VirtualService]]  # who delegates: as written, as it is here
    destination_rules: Mapping[tuple[str, str], tuple[DestinationRule, ...]]  # by namespace and the same
    sidecars: Mapping[str, tuple[Sidecar, ...]]  # by namespace; the oldest first
    mesh_config: Mapping[str, MeshConfig]  # "" -> the one in force
    envoy_filters: Mapping[str, tables.FiltersInForce]  # "" -> those in force; empty: there is none
    documents: Mapping[WorkloadId, Pod]  # as written, of pods that a sandbox lent something; for join()
    resolved: Mapping[str, tuple[IPAddress, ...]]  # host name -> what the agent resolved it to
    foreign_rules: Mapping[str, tuple[DestinationRule, ...]]  # by tables.host_key(): of clients' namespaces only
    clients: Mapping[int, Pod]  # by netns cookie: pods of this node that are in the mesh
    read: Read = field(init=False)  # looks things up, and remembers what it derived from these tables

    def __post_init__(self) -> None:
        object.__setattr__(self, "read", Read(self.tables))

    def enrolment(self, pod: WorkloadId) -> Enrolment:
        """Whether the pod is in the mesh, and why (not)."""
        known = self.enrolments.get(pod)
        return known or enrolment(self.pods.get(pod), self.namespaces.get(pod.namespace))

    @property
    def tables(self) -> Mapping[Input[Any, Any], Mapping[Any, Any]]:
        """What derived values are derived from."""
        return {
            tables.PODS: self.pods,
            tables.NODES: self.nodes,
            tables.HERE: self.here,
            tables.NAMESPACES: self.namespaces,
            tables.SERVICES: self.services,
            tables.PODS_BY_ADDRESS: self.pods_by_address,
            tables.PODS_BY_SERVICE: self.pods_by_service,
            tables.WORKLOADS_BY_SERVICE: self.workloads_by_service,
            tables.SERVICES_BY_ADDRESS: self.services_by_address,
            tables.WIDE: self.wide,
            tables.SERVICES_BY_SELECTOR: self.services_by_selector,
            tables.SLICES_BY_SERVICE: self.slices_by_service,
            tables.SLICES_BY_ADDRESS: self.slices_by_address,
            tables.VIRTUAL_SERVICES: self.virtual_services,
            tables.RULES_BY_TARGET: self.rules_by_target,
            tables.DESTINATION_RULES: self.destination_rules,
            tables.RESOLVED: self.resolved,
            tables.FOREIGN_RULES: self.foreign_rules,
            tables.CLIENTS: self.clients,
            tables.SIDECARS: self.sidecars,
            tables.MESH_CONFIG: self.mesh_config,
            tables.ENVOY_FILTERS: self.envoy_filters,
        }

    def pod_at(self, address: IPAddress) -> Pod | None:
        """The pod that an address means: rather one of a network of its own, and one that is ready."""
        known = self.pods_by_address.get(address, ())
        return min(known, key=lambda pod: (pod.host_network, not pod.ready), default=None)

    def sandbox(self, pod: WorkloadId) -> Sandbox | None:
        """The sandbox of a pod of this node."""
        return next((s for s in self.sandboxes if s.id == pod), None)


def join(
    mesh: Mesh,
    sandboxes: Sequence[Sandbox],
    previous: Facts | None = None,
    node: str = "",
    resolved: Mapping[str, tuple[IPAddress, ...]] = NOTHING_RESOLVED,
) -> Facts:
    """The facts of this configuration and these sandboxes; the order of sandboxes does not matter.

    node: name of this node, where the sandboxes are; empty if it is not known. The same as in previous.
    resolved: what names_to_resolve() are known to mean.
    previous: facts of before. What did not change since, or is equal to what was, comes back as the same object.
    """
    old = previous or NOTHING
    local = tuple(sorted(sandboxes, key=lambda s: (s.id, s.container_id)))
    pods = _join_pods(old, mesh, {s.id: s for s in local}, node)
    namespaces = _join_namespaces(old, mesh)
    joined = join_entries(old.entries, old.mesh, mesh)
    services = join_services(_services(old), old.mesh, mesh, JoinedPods(pods.by_label, pods.changed), joined)
    slices_by_service, slices_by_address = join_slices((old.slices_by_service, old.slices_by_address), old.mesh, mesh)
    enrolments = _enrolments(old, local, pods.by_id, namespaces)
    virtual_services, roots = join_virtual_services((old.virtual_services, old.roots), old.mesh, mesh)
    return Facts(
        mesh=mesh,
        sandboxes=old.sandboxes if local == old.sandboxes else local,
        here=old.here if node == old.here.get("", "") else {"": node},
        nodes=_join_nodes(old, mesh),
        pods=pods.by_id,
        namespaces=namespaces,
        services=services.by_name,
        entries=joined.entries,
        enrolments=enrolments,
        pods_by_label=pods.by_label,
        pods_by_address=pods.by_address,
        services_by_address=services.by_address,
        wide=services.wide,
        pods_by_service=services.pods,
        services_by_selector=services.by_selector,
        workloads_by_service=services.workloads,
        slices_by_service=slices_by_service,
        slices_by_address=slices_by_address,
        virtual_services=virtual_services,
        rules_by_target=join_targets(old.rules_by_target, old.virtual_services, virtual_services),
        roots=roots,
        destination_rules=join_destination_rules(old.destination_rules, old.mesh, mesh),
        sidecars=join_sidecars(old.sidecars, old.mesh, mesh),
        mesh_config=old.mesh_config if old.mesh_config == {"": mesh.config} else {"": mesh.config},
        envoy_filters=_envoy_filters(old.envoy_filters, mesh),
        documents=pods.documents,
        resolved=old.resolved if resolved == old.resolved else resolved,
        foreign_rules=join_foreign_rules(old.foreign_rules, old.mesh, mesh),
        clients=_clients(old, local, enrolments, pods.by_id),
    )


def _envoy_filters(old: Mapping[str, tables.FiltersInForce], mesh: Mesh) -> Mapping[str, tables.FiltersInForce]:
    if not mesh.envoy_filters:
        return old if not old else {}
    now = (mesh.envoy_filters, mesh.refused_patches, mesh.config.root_namespace)
    return old if old.get("") == now else {"": now}


@dataclass(frozen=True, slots=True)
class _Pods:
    by_id: Mapping[WorkloadId, Pod]
    documents: Mapping[WorkloadId, Pod]
    by_label: Mapping[LabelPair, tuple[Pod, ...]]
    by_address: Mapping[IPAddress, tuple[Pod, ...]]
    changed: tuple[Pod, ...]  # as they were and as they are


def _join_pods(old: Facts, mesh: Mesh, local: Mapping[WorkloadId, Sandbox], node: str) -> _Pods:
    gone, come = changes(old.mesh.pods, mesh.pods)
    documents: dict[WorkloadId, Pod | None] = {**dict.fromkeys(p.id for p in gone), **{p.id: p for p in come}}
    for sandbox in _different(old.sandboxes, local):
        if sandbox not in documents:
            documents[sandbox] = old.documents.get(sandbox) or old.pods.get(sandbox)
    by_id, lent = Draft(old.pods), Draft(old.documents)
    by_label, by_address = Groups(old.pods_by_label, _pod_name), Groups(old.pods_by_address, _pod_name)
    changed: list[Pod] = []
    for name, document in documents.items():
        before = old.pods.get(name)
        now = _joined(document, local.get(name), node) if document else None
        lent.set(name, document if now is not document else None)
        if now == before:
            continue
        by_id.set(name, now)
        if before is not None:
            by_label.remove(pairs(name.namespace, before.labels), before)
            by_address.remove(before.ips, before)
            changed.append(before)
        if now is not None:
            by_label.add(pairs(name.namespace, now.labels), now)
            by_address.add(now.ips, now)
            changed.append(now)
    return _Pods(by_id.done(), lent.done(), by_label.done(), by_address.done(), tuple(changed))


def _different(old: Sequence[Sandbox], local: Mapping[WorkloadId, Sandbox]) -> Iterator[WorkloadId]:
    """Pods whose sandbox may lend something else than before."""
    before = {s.id: s for s in old}
    for name in before.keys() | local.keys():
        if before.get(name) is not local.get(name):
            yield name


def _joined(document: Pod, sandbox: Sandbox | None, node: str) -> Pod:
    """The pod with the addresses of its sandbox if its status says none. Without Kubernetes nobody writes a status:
    then a container that runs here is ready. What runs here is on this node, whatever a cluster calls it."""
    if sandbox is None:
        return document
    here = node or document.node
    if here == document.node and document.ips and (document.ready or document.has_status):
        return document
    ready = document.ready or not document.has_status
    return replace(document, ips=document.ips or sandbox.ips, ready=ready, node=here)


def _services(old: Facts) -> Services:
    return Services(
        old.services,
        old.services_by_address,
        old.services_by_selector,
        old.pods_by_service,
        old.workloads_by_service,
        old.wide,
    )


def _join_namespaces(old: Facts, mesh: Mesh) -> Mapping[str, Namespace]:
    gone, come = changes(old.mesh.namespaces, mesh.namespaces)
    by_name = Draft(old.namespaces)
    changed: dict[str, Namespace | None] = {**dict.fromkeys(n.name for n in gone), **{n.name: n for n in come}}
    for name, now in changed.items():
        by_name.set(name, now)
    return by_name.done()


def _join_nodes(old: Facts, mesh: Mesh) -> Mapping[str, Node]:
    gone, come = changes(old.mesh.nodes, mesh.nodes)
    by_name = Draft(old.nodes)
    changed: dict[str, Node | None] = {**dict.fromkeys(n.name for n in gone), **{n.name: n for n in come}}
    for name, now in changed.items():
        by_name.set(name, now)
    return by_name.done()


def _clients(
    old: Facts,
    local: Sequence[Sandbox],
    enrolments: Mapping[WorkloadId, Enrolment],
    pods: Mapping[WorkloadId, Pod],
) -> Mapping[int, Pod]:
    found = {s.netns_cookie: pods[s.id] for s in local if s.id in pods and enrolments[s.id].enrolled}
    return old.clients if found == old.clients else found


def _enrolments(
    old: Facts, local: Sequence[Sandbox], pods: Mapping[WorkloadId, Pod], namespaces: Mapping[str, Namespace]
) -> Mapping[WorkloadId, Enrolment]:
    out = {s.id: enrolment(pods.get(s.id), namespaces.get(s.id.namespace)) for s in local}
    return old.enrolments if out == old.enrolments else out


def target_port(port: ServicePort, pod: Pod) -> int:
    """The number of the container port that a service port leads to; 0 if the pod has no port of that name."""
    if isinstance(port.target, int):
        return port.target or port.port
    return next((p.port for p in pod.ports if p.name == port.target), 0)


def _pod_name(pod: Pod) -> tuple[str, str]:
    return (pod.id.namespace, pod.id.name)


_EMPTY: Final[tuple[Any, ...]] = tuple({} for _ in range(len(fields(Facts)) - 3))  # all but mesh, sandboxes, read
NOTHING: Final = replace(Facts(Mesh(), (), *_EMPTY), entries=Entries())
