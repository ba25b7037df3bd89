"""PeerAuthentication (security.istio.io v1beta1 and v1 are one schema): whether clients need an identity.

What is refused is what upstream's validation refuses (ValidatePeerAuthentication, and the CRD's own rules).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from tidegate.config import messages as say
from tidegate.config.kinds.base import Kind, Place
from tidegate.config.kinds.mesh_config import MESH_CONFIG, in_force
from tidegate.config.links import Links, Topic
from tidegate.config.schema import ApiModel, Finding, Report
from tidegate.config.shapes.metadata import Metadata
from tidegate.config.shapes.workload_selector import PolicySelectorDoc
from tidegate.config.tree import YamlMap
from tidegate.model.policy import MutualTls, PeerAuthentication

_TOPIC = "peer authentication"


class MutualTlsDoc(ApiModel):
    mode: Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"] = "UNSET"


class PeerAuthenticationSpec(ApiModel):
    selector: PolicySelectorDoc | None = None
    mtls: MutualTlsDoc | None = None
    port_level_mtls: dict[str, MutualTlsDoc] | None = None

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        ports = data.get("portLevelMtls")
        if isinstance(ports, YamlMap):
            for number in [number for number, value in ports.items() if value is None]:
                ports.put(number, YamlMap((*ports.path, number), ports.lines[number]), ports.lines[number])


class PeerAuthenticationDoc(ApiModel):
    ignored = frozenset({"apiVersion", "kind", "status"})
    metadata: Metadata
    spec: PeerAuthenticationSpec | None = None


def read(doc: PeerAuthenticationDoc, place: Place, report: Report) -> PeerAuthentication:
    spec, namespace = doc.spec, place.key.namespace
    if spec is None:
        return PeerAuthentication(namespace, place.key.name, age=place.age, origin=place.origin)
    selector = spec.selector.to_model(report) if spec.selector else {}
    mode = MutualTls(spec.mtls.mode) if spec.mtls else MutualTls.UNSET
    ports = dict(_ports(spec, bool(selector), report))
    if MutualTls.STRICT in (mode, *ports.values()):
        report.say(doc, "spec", say.NEAR_IDENTITIES())
    return PeerAuthentication(
        namespace=namespace,
        name=place.key.name,
        mode=mode,
        selector=selector,
        ports=ports,
        age=place.age,
        origin=place.origin,
    )


def _ports(spec: PeerAuthenticationSpec, selected: bool, report: Report) -> Iterator[tuple[int, MutualTls]]:
    if spec.port_level_mtls is None:
        return
    if not spec.port_level_mtls:
        report.say(spec, "portLevelMtls", say.NOTHING_ASKED())
    elif not selected:
        report.say(spec, "portLevelMtls", say.NEEDS_SELECTOR())
    for text, said in spec.port_level_mtls.items():
        if not (text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= 65535):
            report.say(spec, ("portLevelMtls", text), say.NO_POLICY_PORT(given=text, least=1))
        else:
            yield int(text), MutualTls(said.mode)


def provides(one: PeerAuthentication) -> Iterable[Topic]:
    return [(_TOPIC, _workloads(one))]


def _workloads(one: PeerAuthentication) -> str:
    """Stands for whom it is; two that are for the same have the same."""
    return " ".join((one.namespace, *(f"{key}={value}" for key, value in sorted(one.selector.items()))))


def looks_at(one: PeerAuthentication) -> Iterable[Topic]:
    return [*provides(one), MESH_CONFIG]


def check(one: PeerAuthentication, links: Links) -> Iterator[Finding]:
    """A second one for the same workloads, and one that is for none."""
    root = in_force(links).root_namespace
    if one.selector and one.namespace == root:
        yield Finding(one.origin.line, "spec.selector", say.SELECTOR_IN_ROOT(root=root))
        return
    same = [o for _, text in provides(one) for o in links.of(_TOPIC, text) if isinstance(o, PeerAuthentication)]
    first = min(same, key=lambda o: (o.age, o.namespace, o.name), default=one)
    if first is not one:
        yield Finding(one.origin.line, "spec", say.OLDER_AUTHENTICATION(owner=first.origin))


PEER_AUTHENTICATION = Kind(
    group="security.istio.io",
    name="PeerAuthentication",
    versions=("v1beta1", "v1"),
    shape=PeerAuthenticationDoc,
    read=read,
    shelf="peer_authentications",
    provides=provides,
    looks_at=looks_at,
    check=check,
)
