"""`filters` of an EnvoyFilter, as Istio 1.0 had it, read as the patches that mean the same today."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any, Literal

from pydantic import Field

from tidegate.config import messages as say
from tidegate.config.schema import ApiModel, Report
from tidegate.config.shapes.envoy_patch import ABSENT, Port, read_value
from tidegate.model.envoy_filter import ApplyTo, ChainProtocol, Context, ListenerMatch, Patch, PatchOperation
from tidegate.model.names import ObjectKey
from tidegate.model.net import IPNetwork
from tidegate.model.origin import Origin

_MANAGER = "envoy.filters.network.http_connection_manager"
_OPERATIONS = {
    "FIRST": PatchOperation.INSERT_FIRST,
    "LAST": PatchOperation.ADD,
    "BEFORE": PatchOperation.INSERT_BEFORE,
    "AFTER": PatchOperation.INSERT_AFTER,
}
_BESIDE = frozenset({PatchOperation.INSERT_BEFORE, PatchOperation.INSERT_AFTER})
_KINDS = {"HTTP": ApplyTo.HTTP_FILTER, "NETWORK": ApplyTo.NETWORK_FILTER}


class InsertPositionDoc(ApiModel):
    index: Literal["FIRST", "LAST", "BEFORE", "AFTER"] = "FIRST"
    relative_to: str = ""


class LegacyListenerMatchDoc(ApiModel):
    port_number: Port = 0
    port_name_prefix: str = ""
    listener_type: Literal["ANY", "SIDECAR_INBOUND", "SIDECAR_OUTBOUND", "GATEWAY"] = "ANY"
    listener_protocol: Literal["ALL", "HTTP", "TCP"] = "ALL"
    address: list[str] = Field(default_factory=list)

    def networks(self, report: Report) -> tuple[IPNetwork, ...]:
        """The addresses; one without a length is of one address."""
        found = []
        for index, text in enumerate(self.address):
            try:
                found.append(ip_network(text, strict=False))
            except ValueError:
                report.say(self, ("address", index), say.NO_ADDRESS(given=text))
        return tuple(found)


class LegacyFilterDoc(ApiModel):
    listener_match: LegacyListenerMatchDoc = Field(default_factory=LegacyListenerMatchDoc)
    insert_position: InsertPositionDoc = Field(default_factory=InsertPositionDoc)
    filter_type: Literal["INVALID", "HTTP", "NETWORK"]
    filter_name: str = Field(min_length=1)
    filter_config: dict[str, Any] = Field(default_factory=dict)

    def to_model(self, key: ObjectKey, file: str, index: int, report: Report) -> Patch | None:
        """The patch that means the same; None if it does nothing here, which was said."""
        apply_to = _KINDS.get(self.filter_type)
        if apply_to is None:
            report.say(self, "filterType", say.NOT_ONE_OF(given="'INVALID'", known="HTTP, NETWORK", suggestion=""))
            return None
        match, position = self.listener_match, self.insert_position
        operation = _OPERATIONS[position.index]
        if operation in _BESIDE and not position.relative_to:
            report.say(position, "relativeTo", say.MISSING())
        relative_to = position.relative_to if operation in _BESIDE else ""
        if position.relative_to and not relative_to:
            why = f"{position.index} is a place in the whole list; write BEFORE or AFTER"
            report.say(position, "relativeTo", say.NO_EFFECT(why=why))
        networks = match.networks(report)
        value = read_value(
            self, "filterConfig", apply_to, {"name": self.filter_name, "config": dict(self.filter_config)}, report
        )
        context = Context(match.listener_type)
        if (absent := ABSENT.get(context)) is not None:
            report.say(match, "listenerType", say.NO_EFFECT(why=absent))
            return None
        http = apply_to is ApplyTo.HTTP_FILTER
        if http and match.listener_protocol == "TCP":
            report.say(
                match, "listenerProtocol", say.NO_EFFECT(why="where no HTTP is spoken there is no list of HTTP filters")
            )
            return None
        return Patch(
            apply_to=apply_to,
            operation=operation,
            context=context,
            value=value,
            listener=ListenerMatch(
                port=match.port_number,
                port_name=match.port_name_prefix,
                addresses=networks,
                protocol=ChainProtocol(match.listener_protocol),
                filter=_MANAGER if http else relative_to,
                sub_filter=relative_to if http else "",
            ),
            origin=Origin.at(key, file, self.line),
            index=index,
        )
