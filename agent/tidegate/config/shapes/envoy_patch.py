"""configPatches of an EnvoyFilter: today's way to say what changes, for whom, and where."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from tidegate.config import limits
from tidegate.config import messages as say
from tidegate.config.schema import ApiModel, Report, check_regex
from tidegate.errors import Rejected
from tidegate.model.envoy_filter import (
    ApplyTo,
    ClusterMatch,
    Context,
    ListenerMatch,
    Patch,
    PatchOperation,
    RouteAction,
    RouteMatch,
)
from tidegate.model.names import ObjectKey
from tidegate.model.origin import Origin

Port = Annotated[int, limits.PORT.field(default=0)]
ContextName = Literal["ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY", "WAYPOINT"]
# Sides that no proxy here has yet, and why.
ABSENT = {
    Context.WAYPOINT: "there are no waypoints: each node's Envoy does what one would do",
}
# Why a patch of what pods send in bytes does nothing. A proxy that asks us has such chains (decision 24).
RELAYED = "what is no HTTP leaves a pod through the relay, which has no filters; only proxies of others have them"
_INSERTED = frozenset({PatchOperation.INSERT_BEFORE, PatchOperation.INSERT_AFTER, PatchOperation.INSERT_FIRST})
_IN_LISTS = frozenset(
    {
        ApplyTo.LISTENER_FILTER,
        ApplyTo.NETWORK_FILTER,
        ApplyTo.HTTP_FILTER,
        ApplyTo.FILTER_CHAIN,
        ApplyTo.HTTP_ROUTE,
        ApplyTo.VIRTUAL_HOST,
    }
)
_OF_BYTES = frozenset(
    f"envoy.filters.network.{name}" for name in ("tcp_proxy", "mongo_proxy", "redis_proxy", "mysql_proxy")
)
_FILTERS = frozenset({ApplyTo.LISTENER_FILTER, ApplyTo.NETWORK_FILTER, ApplyTo.HTTP_FILTER})


class SubFilterDoc(ApiModel):
    name: str = ""


class FilterMatchDoc(ApiModel):
    name: str = ""
    sub_filter: SubFilterDoc = Field(default_factory=SubFilterDoc)


class FilterChainMatchDoc(ApiModel):
    name: str = ""
    sni: str = ""
    transport_protocol: str = ""
    application_protocols: str = ""
    destination_port: Port = 0
    filter: FilterMatchDoc = Field(default_factory=FilterMatchDoc)


class ListenerMatchDoc(ApiModel):
    port_number: Port = 0
    port_name: str = ""
    name: str = ""
    listener_filter: str = ""
    filter_chain: FilterChainMatchDoc = Field(default_factory=FilterChainMatchDoc)

    def to_model(self) -> ListenerMatch:
        chain = self.filter_chain
        return ListenerMatch(
            port=self.port_number,
            port_name=self.port_name,
            name=self.name,
            listener_filter=self.listener_filter,
            chain=chain.name,
            sni=chain.sni,
            transport_protocol=chain.transport_protocol,
            application_protocols=tuple(p for p in chain.application_protocols.replace(",", " ").split() if p),
            destination_port=chain.destination_port,
            filter=chain.filter.name,
            sub_filter=chain.filter.sub_filter.name,
        )


class RouteRuleMatchDoc(ApiModel):
    name: str = ""
    action: Literal["ANY", "ROUTE", "REDIRECT", "DIRECT_RESPONSE"] = "ANY"


class VirtualHostMatchDoc(ApiModel):
    name: str = ""
    domain_name: str = ""
    route: RouteRuleMatchDoc = Field(default_factory=RouteRuleMatchDoc)


class RouteConfigurationMatchDoc(ApiModel):
    port_number: Port = 0
    port_name: str = ""
    gateway: str = ""
    name: str = ""
    vhost: VirtualHostMatchDoc = Field(default_factory=VirtualHostMatchDoc)

    def to_model(self) -> RouteMatch:
        return RouteMatch(
            port=self.port_number,
            port_name=self.port_name,
            gateway=self.gateway,
            name=self.name,
            host=self.vhost.name,
            domain=self.vhost.domain_name,
            route=self.vhost.route.name,
            action=RouteAction(self.vhost.route.action),
        )


class ClusterMatchDoc(ApiModel):
    port_number: Port = 0
    service: str = ""
    subset: str = ""
    name: str = ""

    def to_model(self) -> ClusterMatch:
        return ClusterMatch(
            port=self.port_number, service=self.service.rstrip(".").lower(), subset=self.subset, name=self.name
        )


class ProxyMatchDoc(ApiModel):
    proxy_version: str = ""
    metadata: dict[str, str] = Field(default_factory=dict)


class PatchMatchDoc(ApiModel):
    unsupported = frozenset({"waypoint"})
    context: ContextName = "ANY"
    proxy: ProxyMatchDoc = Field(default_factory=ProxyMatchDoc)
    listener: ListenerMatchDoc | None = None
    route_configuration: RouteConfigurationMatchDoc | None = None
    cluster: ClusterMatchDoc | None = None


class PatchDoc(ApiModel):
    # filterClass puts a filter where Istio's own filters for authentication, authorization and statistics are.
    unsupported = frozenset({"filterClass"})
    operation: Literal[
        "MERGE",
        "ADD",
        "REMOVE",
        "INSERT_BEFORE",
        "INSERT_AFTER",
        "INSERT_FIRST",
        "REPLACE",
        "MERGE_AND_REPLACE_LIST",
    ]
    value: dict[str, Any] = Field(default_factory=dict)


class ConfigPatchDoc(ApiModel):
    apply_to: Literal[
        "LISTENER",
        "LISTENER_FILTER",
        "FILTER_CHAIN",
        "NETWORK_FILTER",
        "HTTP_FILTER",
        "ROUTE_CONFIGURATION",
        "VIRTUAL_HOST",
        "HTTP_ROUTE",
        "CLUSTER",
        "EXTENSION_CONFIG",
        "BOOTSTRAP",
    ]
    match: PatchMatchDoc = Field(default_factory=PatchMatchDoc)
    patch: PatchDoc

    def to_model(self, key: ObjectKey, file: str, index: int, report: Report) -> Patch | None:
        """The patch; None if it does nothing here, which was said."""
        apply_to, operation = ApplyTo(self.apply_to), PatchOperation(self.patch.operation)
        context = Context(self.match.context)
        if apply_to is ApplyTo.BOOTSTRAP:
            why = "the node's pods share an Envoy, and its start is the agent's"
            report.say(self, "applyTo", say.NO_EFFECT(why=why))
            return None
        if (absent := ABSENT.get(context)) is not None:
            report.say(self.match, "context", say.NO_EFFECT(why=absent))
            return None
        self._check(apply_to, operation, report)
        if self.match.proxy.proxy_version:
            _regex(self.match.proxy, report)
        if context is Context.SIDECAR_OUTBOUND and apply_to is ApplyTo.NETWORK_FILTER and self.match.listener:
            beside = self.match.listener.filter_chain.filter
            if ends_bytes(beside.name):
                report.say(beside, "name", say.NO_EFFECT(why=RELAYED))
        listener, routes, cluster = self.match.listener, self.match.route_configuration, self.match.cluster
        return Patch(
            apply_to=apply_to,
            operation=operation,
            context=context,
            value=self._value(apply_to, context, report),
            listener=listener.to_model() if listener else None,
            routes=routes.to_model() if routes else None,
            cluster=cluster.to_model() if cluster else None,
            proxy_version=self.match.proxy.proxy_version,
            proxy_metadata=self.match.proxy.metadata,
            origin=Origin.at(key, file, self.line),
            index=index,
        )

    def _value(self, apply_to: ApplyTo, context: Context, report: Report) -> dict[str, Any]:
        from tidegate.compile.envoy.patches.routes import OF_EACH_HOST

        value = read_value(self.patch, "value", apply_to, dict(self.patch.value), report)
        shared = apply_to is ApplyTo.ROUTE_CONFIGURATION and context is not Context.SIDECAR_INBOUND
        if shared and (beyond := sorted(value.keys() - OF_EACH_HOST)):
            why = f"{', '.join(beyond)} cannot be set for some pods: those of a node share their route configurations"
            report.say(self.patch, "value", say.NO_EFFECT(why=why))
            return {key: item for key, item in value.items() if key in OF_EACH_HOST}
        return value

    def _check(self, apply_to: ApplyTo, operation: PatchOperation, report: Report) -> None:
        patch = self.patch
        if operation is PatchOperation.REMOVE:
            if patch.value:
                report.say(patch, "value", say.NO_EFFECT(why="REMOVE takes away what matches"))
        elif not patch.value:
            report.say(patch, "value", say.MISSING())
        if operation in _INSERTED and apply_to not in _IN_LISTS:
            report.say(patch, "operation", say.NOT_IN_A_LIST(operation=operation.value, what=apply_to.value))
        adds = operation in _INSERTED or operation is PatchOperation.ADD
        if adds and apply_to in _FILTERS and patch.value and not patch.value.get("name"):
            report.say(patch, "value", say.FILTER_WITHOUT_NAME())
        if apply_to is ApplyTo.EXTENSION_CONFIG and operation is not PatchOperation.ADD:
            report.say(patch, "operation", say.NOT_IN_A_LIST(operation=operation.value, what=apply_to.value))


def ends_bytes(name: str) -> bool:
    """Whether a filter of connections, by its name of today or of before, is one of chains without HTTP only."""
    return name in _OF_BYTES or f"envoy.filters.network.{name.removeprefix('envoy.')}" in _OF_BYTES


def read_value(at: ApiModel, key: str, apply_to: ApplyTo, value: dict[str, Any], report: Report) -> dict[str, Any]:
    """The value of a patch as Envoy's API spells it; says what is wrong with it."""
    # Envoy's messages take a third of a second to load, and hardly anybody has a patch.
    from tidegate.compile.envoy.patches import values

    if not value:
        return {}
    try:
        return values.read(apply_to, value)
    except Rejected as error:
        report.say(at, key, say.NO_ENVOY_MESSAGE(reason=str(error)))
        return {}


def _regex(proxy: ProxyMatchDoc, report: Report) -> None:
    try:
        check_regex(proxy.proxy_version)
    except say.Wrong as wrong:
        report.say(proxy, "proxyVersion", wrong.said)
