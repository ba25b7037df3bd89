"""MeshConfig and MeshNetworks: keys `mesh` and `meshNetworks` of ConfigMap istio-system/istio, as operators edit them.

Their values are texts that hold YAML; findings have the lines of the file that they stand in. Every other ConfigMap
does nothing to a mesh. Key `tidegate` is ours: istiod, which reads the same object, refuses fields that it does not
know.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal

from pydantic import Field

from tidegate.config import limits
from tidegate.config import messages as say
from tidegate.config.kinds.base import Kind, Place
from tidegate.config.links import Links, Topic
from tidegate.config.schema import LABEL, ApiModel, Finding, PositiveDuration, Report, listify, words
from tidegate.config.shapes.connection_pool import ConnectionPoolDoc, OutlierDoc, TcpKeepalive
from tidegate.config.shapes.destination import export_to
from tidegate.config.shapes.http_action import RetryDoc
from tidegate.config.shapes.locality import LocalityDoc
from tidegate.config.shapes.metadata import Metadata
from tidegate.config.shapes.outbound_policy import OutboundPolicyDoc
from tidegate.config.tree import Path, YamlList, YamlMap, read_tree
from tidegate.model.identity import TRUST_DOMAIN
from tidegate.model.locality import LocalityPreference
from tidegate.model.mesh_config import EVERYBODY, NO_MESH_CONFIG, Compat, MeshConfig, UsualTraffic
from tidegate.model.names import ROOT_NAMESPACE
from tidegate.model.traffic import ConnectionPool, TrafficPolicy

NAME: Final = "istio"
MESH_CONFIG: Final[Topic] = ("mesh", "mesh")  # what is said for the whole mesh


class UsualTrafficDoc(ApiModel):
    connection_pool: ConnectionPoolDoc | None = None
    outlier_detection: OutlierDoc | None = None


class MeshConfigDoc(ApiModel):
    ignored = words(
        "proxyListenPort proxyInboundListenPort inboundTrafficPolicy configSources enableEnvoyAccessLogService "
        "disableEnvoyListenerLog outboundClusterStatName inboundClusterStatName enablePrometheusMerge "
        "discoverySelectors caCertificates certificates ca verifyCertificateAtClient defaultProviders "
        "defaultInboundHttpRetryPolicy meshMTLS serviceScopeConfigs"
    )
    unsupported = words(
        "proxyHttpPort ingressClass ingressService ingressControllerMode ingressSelector enableTracing "
        "accessLogFile accessLogFormat accessLogEncoding defaultConfig enableAutoMtls "
        "extensionProviders pathNormalization tlsDefaults serviceSettings "
        "protocolDetectionTimeout"
    )
    outbound_traffic_policy: OutboundPolicyDoc | None = None
    root_namespace: str = ROOT_NAMESPACE
    trust_domain: str = ""
    trust_domain_aliases: list[str] = []
    default_service_export_to: list[str] = []
    default_virtual_service_export_to: list[str] = []
    default_destination_rule_export_to: list[str] = []
    default_http_retry_policy: RetryDoc | None = None
    connect_timeout: PositiveDuration | None = None
    tcp_keepalive: TcpKeepalive | None = None
    dns_refresh_rate: PositiveDuration | None = None
    h2_upgrade_policy: Literal["DO_NOT_UPGRADE", "UPGRADE"] = Field(default="DO_NOT_UPGRADE", alias="h2UpgradePolicy")
    default_traffic_policy: UsualTrafficDoc | None = None
    locality_lb_setting: LocalityDoc | None = None

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        for kind in ("Service", "VirtualService", "DestinationRule"):
            listify(data, f"default{kind}ExportTo")
        listify(data, "trustDomainAliases")

    def traffic(self, report: Report) -> UsualTraffic | None:
        """What it says below all rules."""
        keepalive, said = self.tcp_keepalive or TcpKeepalive(), self.default_traffic_policy or UsualTrafficDoc()
        keepalive.check(report)
        pool, outlier = said.connection_pool, said.outlier_detection
        # An order comes into force with outlier detection, which rules bring.
        near = self.locality_lb_setting.to_model(report, outlier=True) if self.locality_lb_setting else None
        found = UsualTraffic(
            TrafficPolicy(
                connection_pool=pool.to_model(report) if pool else None,
                outlier=outlier.to_model(report) if outlier else None,
            ),
            ConnectionPool(
                keepalive_probes=keepalive.probes,
                keepalive_time_ms=keepalive.time or 0,
                keepalive_interval_ms=keepalive.interval or 0,
                h2_upgrade=True if self.h2_upgrade_policy == "UPGRADE" else None,
            ),
            near=None if near == LocalityPreference() else near,
        )
        return None if found == UsualTraffic() else found


class MeshNetworksDoc(ApiModel):
    unsupported = frozenset({"networks"})

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        if not data.get("networks"):
            data.pop("networks", None)  # as installers write it: one network


class OwnDoc(ApiModel):
    compat: Literal["current", "v1alpha3-1.0"] = "current"


class ConfigMapData(ApiModel):
    open_ended = True
    mesh: MeshConfigDoc | None = None
    mesh_networks: MeshNetworksDoc | None = None
    tidegate: OwnDoc | None = None


class ConfigMapDoc(ApiModel):
    open_ended = True
    metadata: Metadata = Field(default_factory=Metadata)
    data: ConfigMapData = Field(default_factory=ConfigMapData)

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        metadata, texts = data.get("metadata"), data.get("data")
        given = metadata if isinstance(metadata, YamlMap) else {}
        if (given.get("namespace"), given.get("name")) != (ROOT_NAMESPACE, NAME):
            data.pop("data", None)
        elif isinstance(texts, YamlMap):
            for key in ("mesh", "meshNetworks", "tidegate"):
                if key in texts:
                    _open(texts, key, report)


def _open(texts: YamlMap, key: str, report: Report) -> None:
    """Put what a text says in the text's place; one that is no YAML is left out, with what is wrong with it."""
    text, line = texts[key], texts.lines.get(key, texts.line)
    if isinstance(text, YamlMap):
        report.say(texts, key, say.READ_AS(new=f'the text that Kubernetes wants here: write "{key}: |"'))
        return
    if not isinstance(text, str):
        return
    literal = key in texts.literal
    tree = read_tree(line + literal, text)
    if tree is None:
        del texts[key]
    elif tree.problem is not None:
        at = tree.problem.line if literal else line
        report.findings.append(Finding(at, f"data.{key}", tree.problem.said))
        del texts[key]
    else:
        _move(tree.value, (*texts.path, key), 0 if literal else line)
        texts.put(key, tree.value, line)


def _move(value: Any, path: Path, line: int) -> None:
    """Say of a tree, and of all in it, where it stands. line: all of it, in quotes; 0: where its lines say."""
    if isinstance(value, YamlMap):
        value.path = path
        value.line = line or value.line
        value.lines = dict.fromkeys(value.lines, line) if line else value.lines
        for key, member in value.items():
            _move(member, (*path, key), line)
    elif isinstance(value, YamlList):
        value.path = path
        value.line = line or value.line
        value.lines = [line] * len(value.lines) if line else value.lines
        for i, member in enumerate(value):
            _move(member, (*path, i), line)


def read(doc: ConfigMapDoc, place: Place, report: Report) -> MeshConfig | None:
    if (place.key.namespace, place.key.name) != (ROOT_NAMESPACE, NAME):
        return None
    mesh = doc.data.mesh
    compat = Compat(doc.data.tidegate.compat) if doc.data.tidegate else Compat.CURRENT
    if mesh is None:
        return MeshConfig(compat=compat, origin=place.origin)
    if not LABEL.fullmatch(mesh.root_namespace):
        report.say(mesh, "rootNamespace", say.NO_LABEL(name=mesh.root_namespace, what="namespace"))
    if mesh.trust_domain and not TRUST_DOMAIN.fullmatch(mesh.trust_domain):
        report.say(mesh, "trustDomain", say.NO_TRUST_DOMAIN(given=mesh.trust_domain))
    for index, alias in enumerate(mesh.trust_domain_aliases):
        if not TRUST_DOMAIN.fullmatch(alias):
            report.say(mesh, ("trustDomainAliases", index), say.NO_TRUST_DOMAIN(given=alias))
    if mesh.dns_refresh_rate is not None and mesh.dns_refresh_rate < limits.DNS_REFRESH_MS:
        report.say(mesh, "dnsRefreshRate", say.OUT_OF_BOUNDS(detail=f"must be at least {limits.DNS_REFRESH_MS}ms"))
    policy, retries = mesh.outbound_traffic_policy, mesh.default_http_retry_policy

    def everybody(key: str, written: list[str], nobody: bool = False) -> tuple[str, ...]:
        return export_to(mesh, written, report, key=key, nobody=nobody) or EVERYBODY

    return MeshConfig(
        registry_only=policy is not None and policy.registry_only,
        root_namespace=mesh.root_namespace,
        trust_domain=mesh.trust_domain,
        trust_domain_aliases=tuple(dict.fromkeys(mesh.trust_domain_aliases)),
        services_to=everybody("defaultServiceExportTo", mesh.default_service_export_to, nobody=True),
        virtual_services_to=everybody("defaultVirtualServiceExportTo", mesh.default_virtual_service_export_to),
        destination_rules_to=everybody("defaultDestinationRuleExportTo", mesh.default_destination_rule_export_to),
        retries=retries.to_model(report) if retries else None,
        connect_timeout_ms=mesh.connect_timeout or 0,
        dns_refresh_ms=mesh.dns_refresh_rate or NO_MESH_CONFIG.dns_refresh_ms,
        traffic=mesh.traffic(report),
        compat=compat,
        origin=place.origin,
    )


def provides(_mesh: MeshConfig) -> Iterable[Topic]:
    return [MESH_CONFIG]


def in_force(links: Links) -> MeshConfig:
    """The MeshConfig beside which an object stands that looks at MESH_CONFIG."""
    return next((found for found in links.of(*MESH_CONFIG) if isinstance(found, MeshConfig)), NO_MESH_CONFIG)


CONFIG_MAP = Kind(
    group="", name="ConfigMap", versions=("v1",), shape=ConfigMapDoc, read=read, shelf="mesh_configs", provides=provides
)
