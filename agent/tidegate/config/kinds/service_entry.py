"""ServiceEntry (networking.istio.io v1alpha3, v1beta1 and v1 are one schema): hosts that no Service has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Literal

from pydantic import Field, field_validator

from tidegate.config import messages as say
from tidegate.config.kinds.base import Kind, Place
from tidegate.config.limits import MOST_ROWS, too_many_rows
from tidegate.config.links import Links, Topic
from tidegate.config.named_services import dialled_first, services_of
from tidegate.config.protocols import declared_protocol
from tidegate.config.schema import LABEL, ApiModel, Finding, Report, listify
from tidegate.config.shapes.destination import PortNumber, export_to
from tidegate.config.shapes.envoy_text import OneLine, is_host, is_partial
from tidegate.config.shapes.metadata import Metadata
from tidegate.config.shapes.workload import WorkloadDoc
from tidegate.config.tree import YamlMap
from tidegate.model.capture import is_pods_own
from tidegate.model.entry import ANY, External, Resolution, Workload
from tidegate.model.hosts import is_address
from tidegate.model.kube import ServicePort
from tidegate.model.net import IPAddress, IPNetwork, host_port, parse_ip, parse_network
from tidegate.model.service_entry import ServiceEntry, Speech, mergeable

AUTO_ALLOCATE = "networking.istio.io/enable-autoallocate-ip"  # label; "false": no address is given out
WRITTEN_OUT = 256  # addresses of a range, each a row in the kernel's table; of a wider one the range is
_MOST = 256  # hosts, addresses


class EntryPortDoc(ApiModel):
    number: PortNumber
    name: str
    protocol: str = ""
    target_port: int = Field(default=0, ge=0, le=65535)

    @field_validator("protocol")
    @classmethod
    def _word(cls, value: str) -> str:
        if declared_protocol(value) is None:
            raise say.Wrong(say.NO_PROTOCOL(given=value))
        return value

    def to_model(self, report: Report) -> ServicePort:
        if not LABEL.fullmatch(self.name.lower()):
            report.say(self, "name", say.NO_LABEL(name=self.name, what="port"))
        protocol = declared_protocol(self.protocol)
        assert protocol is not None
        return ServicePort(self.number, self.name, protocol, self.target_port)


class SelectorDoc(ApiModel):
    labels: dict[str, str] = Field(default_factory=dict)


class ServiceEntrySpec(ApiModel):
    hosts: list[str] = Field(min_length=1, max_length=_MOST)
    addresses: list[str] = Field(default_factory=list, max_length=_MOST)
    ports: list[EntryPortDoc] = Field(default_factory=list)
    location: Literal["MESH_EXTERNAL", "MESH_INTERNAL"] = "MESH_EXTERNAL"
    resolution: Literal["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"] = "NONE"
    endpoints: list[WorkloadDoc] = Field(default_factory=list, max_length=4096)
    workload_selector: SelectorDoc | None = None
    export_to: list[str] = Field(default_factory=list)
    subject_alt_names: list[OneLine] = Field(default_factory=list)

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        for old, new in (("addresss", "addresses"), ("discovery", "resolution")):
            if old in data and new not in data:
                report.say(data, old, say.READ_AS(new=new))
                data.rename(old, new)
        listify(data, "hosts", "addresses", "exportTo", "subjectAltNames")


class GivenDoc(ApiModel):
    open_ended = True
    value: str = ""
    host: str = ""


class ServiceEntryStatus(ApiModel):
    open_ended = True
    addresses: list[GivenDoc] = Field(default_factory=list)


class ServiceEntryDoc(ApiModel):
    ignored = frozenset({"apiVersion", "kind"})
    metadata: Metadata
    spec: ServiceEntrySpec
    status: ServiceEntryStatus = Field(default_factory=ServiceEntryStatus)


def read(doc: ServiceEntryDoc, place: Place, report: Report) -> ServiceEntry | None:
    """The entry; None if nobody may see it, or if it is of a sort that is not served yet."""
    spec = doc.spec
    if spec.resolution == "DYNAMIC_DNS":
        report.say(spec, "resolution", say.UNSUPPORTED_FIELD())
        return None
    resolution = Resolution(spec.resolution)
    hosts = tuple(dict.fromkeys(_hosts(spec, resolution, report)))
    ports = _ports(spec, report)
    if any(Speech.of(port) is Speech.TLS for port in ports):
        for i, host in enumerate(spec.hosts):
            if is_partial(host):
                report.say(spec, ("hosts", i), say.PARTIAL_SNI(given=host))
    _check_hosts_apart(spec, hosts, ports, resolution, report)
    addresses = tuple(dict.fromkeys(_addresses(spec, resolution, report)))
    endpoints = tuple(_endpoints(spec, resolution, report))
    if (rows := max(len(addresses), len(spec.addresses)) * len(ports)) > MOST_ROWS:
        report.say(spec, "ports", say.OUT_OF_BOUNDS(detail=too_many_rows(rows)))
    _tell_what_waits(spec, ports, report)
    if spec.export_to == ["~"]:
        return None
    wanted = resolution is not Resolution.NONE and not spec.addresses
    return ServiceEntry(
        namespace=place.key.namespace,
        name=place.key.name,
        hosts=hosts,
        addresses=addresses,
        ports=ports,
        external=External(
            resolution=resolution,
            endpoints=endpoints,
            in_mesh=spec.location == "MESH_INTERNAL",
            subject_alt_names=tuple(spec.subject_alt_names),
            ranges=tuple(_ranges(spec)),
            wide=tuple(_wide(spec, resolution)),
        ),
        selector=spec.workload_selector.labels if spec.workload_selector else {},
        export_to=export_to(spec, spec.export_to, report, nobody=True),
        wants_addresses=wanted and doc.metadata.labels.get(AUTO_ALLOCATE) != "false",
        given=_given(doc, report) if wanted else {},
        age=place.age,
        origin=place.origin,
    )


def _hosts(spec: ServiceEntrySpec, resolution: Resolution, report: Report) -> Iterator[str]:
    for i, host in enumerate(spec.hosts):
        if host == "*":
            report.say(spec, ("hosts", i), say.ENTRY_STAR())
        elif not is_host(host) or is_address(host):
            report.say(spec, ("hosts", i), say.NO_HOST(given=host))
        elif resolution.by_name and host.startswith("*") and not spec.endpoints and not spec.workload_selector:
            report.say(spec, ("hosts", i), say.WILDCARD_BY_NAME(host=host))
        else:
            yield host.lower()


def _ports(spec: ServiceEntrySpec, report: Report) -> tuple[ServicePort, ...]:
    if not spec.ports:
        report.say(spec, None, say.NO_PORTS())
    numbers: set[int] = set()
    names: set[str] = set()
    for port in spec.ports:
        if port.number in numbers:
            report.say(port, "number", say.TWICE(what=f"port {port.number}"))
        if port.name in names:
            report.say(port, "name", say.TWICE(what=f"port {port.name!r}"))
        numbers.add(port.number)
        names.add(port.name)
    return tuple(port.to_model(report) for port in spec.ports)


def _check_hosts_apart(
    spec: ServiceEntrySpec, hosts: tuple[str, ...], ports: tuple[ServicePort, ...], how: Resolution, report: Report
) -> None:
    """Of plain TCP only the address says which host is meant."""
    opaque = [p for p, doc in zip(ports, spec.ports, strict=True) if declared_protocol(doc.protocol, names_host=True)]
    if len(hosts) > 1 and how is not Resolution.NONE and len(opaque) < len(ports):
        report.say(spec, "hosts", say.HOSTS_OF_TCP())


def _addresses(spec: ServiceEntrySpec, how: Resolution, report: Report) -> Iterator[IPAddress]:
    for i, text in enumerate(spec.addresses):
        at = ("addresses", i)
        try:
            network = parse_network(text)
        except ValueError:
            report.say(spec, at, say.NO_ADDRESS(given=text))
            continue
        if is_pods_own(network):
            report.say(spec, at, say.PODS_OWN(given=text))
        if is_address(text):
            yield parse_ip(text)
            continue
        if how.by_name:
            report.say(spec, at, say.RANGE_BY_NAME(given=text))
        elif network.num_addresses <= _widest(spec):
            yield from network


def _ranges(spec: ServiceEntrySpec) -> Iterator[IPNetwork]:
    """Those that are written."""
    for text in spec.addresses:
        if not is_address(text):
            with suppress(ValueError):
                yield parse_network(text)


def _wide(spec: ServiceEntrySpec, how: Resolution) -> Iterator[IPNetwork]:
    """Where its clients dial: what _addresses() does not write out. Nobody can say it of a host that goes where it is
    dialled and has no address."""
    if how is Resolution.NONE and not spec.addresses:
        yield ANY
    widest = _widest(spec)
    yield from dict.fromkeys(n for n in _ranges(spec) if n.num_addresses > widest and not how.by_name)


def _widest(spec: ServiceEntrySpec) -> int:
    """Up to how many addresses a range is written out: none, where all of them at all ports would be too many rows."""
    ranges = [network.num_addresses for network in _ranges(spec)]
    addresses = len(spec.addresses) - len(ranges) + sum(n for n in ranges if n <= WRITTEN_OUT)
    return WRITTEN_OUT if addresses * len(spec.ports) <= MOST_ROWS else 1


def _endpoints(spec: ServiceEntrySpec, how: Resolution, report: Report) -> Iterator[Workload]:
    names = {port.name for port in spec.ports}
    if spec.endpoints and spec.workload_selector:
        report.say(spec, None, say.EXCLUSIVE(first="endpoints", second="workloadSelector"))
    if len({doc.is_socket for doc in spec.endpoints}) > 1:
        report.say(spec, "endpoints", say.EXCLUSIVE(first="unix sockets", second="addresses"))
    if how is Resolution.NONE and (spec.endpoints or spec.workload_selector):
        key = "endpoints" if spec.endpoints else "workloadSelector"
        report.say(spec, key, say.ENDPOINTS_OF_NONE())
        return
    if how is Resolution.DNS_ROUND_ROBIN and len(spec.endpoints) > 1:
        report.say(spec, "endpoints", say.ROUND_ROBIN_ENDPOINTS())
    for doc in spec.endpoints:
        for name in doc.ports.keys() - names:
            report.say(doc, ("ports", name), say.ENDPOINT_PORT(name=name, names=", ".join(sorted(names)) or "none"))
        if doc.is_socket and how is not Resolution.STATIC:
            report.say(doc, "address", say.SOCKET_NOT_STATIC())
        elif doc.is_socket and len(spec.ports) > 1:
            report.say(spec, "ports", say.SOCKET_ONE_PORT())
        workload = doc.to_model(report)
        if workload is not None and how is Resolution.STATIC and workload.ip is None and not workload.path:
            report.say(doc, "address", say.NAME_OF_STATIC(given=doc.address))
        elif workload is not None:
            yield workload


def _given(doc: ServiceEntryDoc, report: Report) -> dict[str, tuple[IPAddress, ...]]:
    """What Istio's control plane wrote down; without a host it is every host's."""
    out: dict[str, tuple[IPAddress, ...]] = {}
    for item in doc.status.addresses:
        if not is_address(item.value):
            report.say(item, "value", say.NO_ADDRESS(given=item.value))
            continue
        for host in [item.host.lower()] if item.host else [h.lower() for h in doc.spec.hosts]:
            out[host] = (*out.get(host, ()), parse_ip(item.value))
    return out


def _tell_what_waits(spec: ServiceEntrySpec, ports: tuple[ServicePort, ...], report: Report) -> None:
    """What is read and does nothing yet."""
    if any(doc.is_socket for doc in spec.endpoints) and not all(p.protocol.is_http for p in ports):
        report.say(spec, "endpoints", say.SOCKET_OF_TCP())


def provides(entry: ServiceEntry) -> Iterable[Topic]:
    ranges = ((network, port) for network in entry.external.wide for port in entry.ports)
    return [
        *(("service", host) for host in entry.hosts),
        *(_range(network, port) for network, port in ranges),
        *(("address", str(address)) for address in entry.addresses),
    ]


def _range(network: IPNetwork, port: ServicePort) -> Topic:
    return "range", f"{network}:{port.port}"


def check(entry: ServiceEntry, links: Links) -> Iterator[Finding]:
    """Hosts, and ports of ranges, that belong to somebody else. Warnings: the other may go."""
    yield from _ranges_taken(entry, links)
    yield from _addresses_taken(entry, links)
    for host in entry.hosts:
        owner, *_ = services_of(links, host)
        mine = next(s for s in entry.services() if s.id.fqdn == host)
        if owner.origin != entry.origin and not mergeable(owner, mine):
            yield Finding(entry.origin.line, "spec.hosts", say.HOST_TAKEN(host=host, owner=owner.origin))


def _addresses_taken(entry: ServiceEntry, links: Links) -> Iterator[Finding]:
    """Where a Service, or another host that nothing tells apart from ours, is dialled already."""
    mine = entry.services()[:1]  # the others stand in the same document
    for port in entry.ports:
        asked = ((a, dialled_first(links, a, port, service)) for a in entry.addresses for service in mine)
        for address, owner in islice(((a, owner) for a, owner in asked if owner is not None), 1):  # of a range one
            said = say.ADDRESS_TAKEN(address=host_port(str(address), port.port), owner=owner.origin)
            yield Finding(entry.origin.line, "spec.addresses", said)


def _ranges_taken(entry: ServiceEntry, links: Links) -> Iterator[Finding]:
    """Where nothing in a connection says which of several hosts is meant, or an older one goes by something else."""
    for network in entry.external.wide:
        for port in entry.ports:
            those = [e for e in links.of(*_range(network, port)) if isinstance(e, ServiceEntry)]
            oldest = min(those, key=lambda e: (e.age, e.namespace, e.name), default=entry)
            theirs = next((Speech.of(p) for p in oldest.ports if p.port == port.port), Speech.TCP)
            if oldest.origin != entry.origin and (theirs is not Speech.of(port) or theirs is Speech.TCP):
                where = "every address" if network == ANY else network
                owner, speech = oldest.origin, theirs.name
                said = say.RANGE_TAKEN(port=port.port, range=where, owner=owner, speech=speech)
                yield Finding(entry.origin.line, "spec.ports", said)


SERVICE_ENTRY = Kind(
    group="networking.istio.io",
    name="ServiceEntry",
    versions=("v1alpha3", "v1beta1", "v1"),
    shape=ServiceEntryDoc,
    read=read,
    shelf="service_entries",
    provides=provides,
    looks_at=provides,
    check=check,
)
