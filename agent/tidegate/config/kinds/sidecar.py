"""Sidecar (networking.istio.io v1alpha3, v1beta1 and v1 are one schema): what exists for a workload, and what stands in
front of its ports."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pydantic import Field

from tidegate.config import messages as say
from tidegate.config.kinds.base import Kind, Place
from tidegate.config.links import Links, Topic
from tidegate.config.schema import LABEL, ApiModel, Finding, Report, listify
from tidegate.config.shapes.connection_pool import ConnectionPoolDoc
from tidegate.config.shapes.destination import PortNumber
from tidegate.config.shapes.envoy_text import is_host
from tidegate.config.shapes.metadata import Metadata
from tidegate.config.shapes.outbound_policy import OutboundPolicyDoc
from tidegate.config.shapes.sidecar_ingress import IngressDoc
from tidegate.config.shapes.workload_selector import WorkloadSelectorDoc
from tidegate.config.tree import YamlMap
from tidegate.model.sidecar import ANYWHERE, OWN, Egress, Import, Sidecar

_SPLIT = re.compile(r"(?P<not>~?)(?P<namespace>[^/~]*)/(?P<host>[^/]+)")


class EgressPortDoc(ApiModel):
    ignored = frozenset({"name", "protocol", "targetPort"})
    number: PortNumber


class EgressDoc(ApiModel):
    ignored = frozenset({"captureMode"})
    unsupported = frozenset({"bind"})
    port: EgressPortDoc | None = None
    hosts: list[str] = Field(min_length=1)

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        listify(data, "hosts")

    def to_model(self, report: Report) -> Egress:
        imports: list[Import] = []
        excluded: list[Import] = []
        for i, text in enumerate(self.hosts):
            parts = _SPLIT.fullmatch(text)
            namespace, host = (parts["namespace"], parts["host"].lower()) if parts else ("", "")
            nothing = parts is not None and bool(parts["not"]) and not namespace
            if nothing and host == "*":
                continue  # "~/*": nothing at all
            known = namespace in (ANYWHERE, OWN) or LABEL.fullmatch(namespace)
            if not known or nothing or not (host == "*" or (is_host(host) and "." in host)):
                report.say(self, ("hosts", i), say.EGRESS_HOST(given=text))
                continue
            (excluded if parts and parts["not"] else imports).append(Import(namespace, host))
        return Egress(self.port.number if self.port else 0, tuple(imports), tuple(excluded))


class SidecarSpec(ApiModel):
    workload_selector: WorkloadSelectorDoc | None = None
    egress: list[EgressDoc] = []
    ingress: list[IngressDoc] = []
    inbound_connection_pool: ConnectionPoolDoc | None = None
    outbound_traffic_policy: OutboundPolicyDoc | None = None

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        listify(data, "egress", "ingress")
        if not {"ingress", "egress", "outboundTrafficPolicy", "inboundConnectionPool"} & data.keys():
            report.say(data, None, say.EMPTY_SIDECAR())


class SidecarDoc(ApiModel):
    ignored = frozenset({"apiVersion", "kind", "status"})
    metadata: Metadata
    spec: SidecarSpec


def read(doc: SidecarDoc, place: Place, report: Report) -> Sidecar:
    spec = doc.spec
    ports: set[int] = set()
    for i, listener in enumerate(spec.egress):
        number = listener.port.number if listener.port else 0
        if number in ports:
            report.say(spec, ("egress", i), say.TWICE(what=f"port {number}") if number else say.EGRESS_LAST())
        elif not number and i < len(spec.egress) - 1:
            report.say(spec, ("egress", i), say.EGRESS_LAST())
        ports.add(number)
    inbound: set[int] = set()
    for i, it in enumerate(spec.ingress):
        if it.port.number in inbound:
            report.say(spec, ("ingress", i), say.TWICE(what=f"port {it.port.number}"))
        inbound.add(it.port.number)
    pool, policy = spec.inbound_connection_pool, spec.outbound_traffic_policy
    return Sidecar(
        namespace=place.key.namespace,
        name=place.key.name,
        selector=spec.workload_selector.to_model(report) if spec.workload_selector else None,
        egress=tuple(e.to_model(report) for e in spec.egress) or None,
        registry_only=policy.registry_only if policy else None,
        ingress=tuple(it.to_model(report) for it in spec.ingress),
        inbound_pool=pool.to_model(report) if pool else None,
        age=place.age,
        origin=place.origin,
    )


def provides(sidecar: Sidecar) -> Iterable[Topic]:
    return [("sidecar", sidecar.namespace)] if sidecar.selector is None else ()


def looks_at(sidecar: Sidecar) -> Iterable[Topic]:
    named = [i.host for e in sidecar.egress or () for i in (*e.imports, *e.excluded) if not i.host.startswith("*")]
    return [*provides(sidecar), *(("service", host) for host in named), *(("host", host) for host in named)]


def check(sidecar: Sidecar, links: Links) -> Iterator[Finding]:
    """A second default of a namespace, and hosts that nobody has."""
    line = sidecar.origin.line
    others = [s for _, ns in provides(sidecar) for s in links.of("sidecar", ns) if isinstance(s, Sidecar)]
    first = min(others, key=lambda s: (s.age, s.namespace, s.name), default=sidecar)
    if first is not sidecar:
        yield Finding(line, "spec", say.OLDER_SIDECAR(owner=first.origin))
    for index, listener in enumerate(sidecar.egress or ()):
        for i in listener.imports:
            known = any(True for what in ("service", "host") for _ in links.of(what, i.host))
            if not i.host.startswith("*") and links.any("service") and not known:
                yield Finding(line, f"spec.egress[{index}].hosts", say.NO_SUCH_HOST(host=i.host))


SIDECAR = Kind(
    group="networking.istio.io",
    name="Sidecar",
    versions=("v1alpha3", "v1beta1", "v1"),
    shape=SidecarDoc,
    read=read,
    shelf="sidecars",
    provides=provides,
    looks_at=looks_at,
    check=check,
)
