"""What somebody wrote as the value of a patch -> proto-JSON of the message that it is for, in one spelling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Error, Message

from tidegate.compile.envoy.patches import names
from tidegate.compile.envoy.protojson import Json
from tidegate.compile.envoy.prototypes import load_nested_types, message_class
from tidegate.errors import Rejected
from tidegate.model.envoy_filter import ApplyTo

MESSAGES: Mapping[ApplyTo, str] = {
    ApplyTo.LISTENER: "envoy.config.listener.v3.Listener",
    ApplyTo.LISTENER_FILTER: "envoy.config.listener.v3.ListenerFilter",
    ApplyTo.FILTER_CHAIN: "envoy.config.listener.v3.FilterChain",
    ApplyTo.NETWORK_FILTER: "envoy.config.listener.v3.Filter",
    ApplyTo.HTTP_FILTER: "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
    ApplyTo.ROUTE_CONFIGURATION: "envoy.config.route.v3.RouteConfiguration",
    ApplyTo.VIRTUAL_HOST: "envoy.config.route.v3.VirtualHost",
    ApplyTo.HTTP_ROUTE: "envoy.config.route.v3.Route",
    ApplyTo.CLUSTER: "envoy.config.cluster.v3.Cluster",
    ApplyTo.EXTENSION_CONFIG: "envoy.config.core.v3.TypedExtensionConfig",
}
_CANONICAL = {
    ApplyTo.HTTP_FILTER: names.of_http,
    ApplyTo.NETWORK_FILTER: names.of_network,
    ApplyTo.LISTENER_FILTER: names.of_listener,
}
# Messages that carry another one as a Struct with its name: what is inside is known here, so it can be merged.
_STRUCTS = ("udpa.type.v1.TypedStruct", "xds.type.v3.TypedStruct")
_URL = "type.googleapis.com/"


def read(apply_to: ApplyTo, value: Mapping[str, Any]) -> Json:
    """The value as proto-JSON with the names of fields as Envoy's API has them.

    Raises Rejected for what is none of the message that it is for.
    """
    written: Json = _plain(value)
    canonical = _CANONICAL.get(apply_to)
    if canonical is not None and isinstance(name := written.get("name"), str):
        written["name"] = canonical(name)
        _type_old_config(written, canonical(name))
    message = message_of(MESSAGES[apply_to], _unwrapped(written))
    return to_json(message)


def message_of(full_name: str, body: Mapping[str, Any]) -> Message:
    """A message from proto-JSON. Raises Rejected."""
    load_nested_types(body)
    message = message_class(full_name)()
    try:
        ParseDict(dict(body), message)
    except (ParseError, Error, TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        # ParseError lists every member that would have been possible on further lines.
        reason = str(error).strip().partition("\n")[0]
        raise Rejected(full_name.rpartition(".")[2], reason) from None
    return message


def to_json(message: Message) -> Json:
    """Proto-JSON in the spelling that all resources here have. Raises Rejected for bytes that are no message."""
    try:
        return MessageToDict(message, preserving_proto_field_name=True)
    except (Error, TypeError, ValueError) as error:
        raise Rejected(message.DESCRIPTOR.name, str(error)) from None


def _plain(value: Any) -> Any:
    """Copies of our own, of plain types, without what is unset."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


def _type_old_config(written: Json, name: str) -> None:
    """`config` of Envoy's API before v3 is a Struct; today the message has to be named, and the filter's name tells it.

    Raises Rejected if it does not.
    """
    old = written.pop("config", None)
    if old is None or "typed_config" in written or "typedConfig" in written:
        return
    kind = names.message_of(name)
    if not kind or not isinstance(old, dict):
        raise Rejected("config", f"of {name!r}", "write typed_config with the @type of its message")
    written["typed_config"] = {"@type": _URL + kind, **old}


def _unwrapped(value: Any) -> Any:
    """With each TypedStruct as the message that it stands for."""
    if isinstance(value, dict):
        value = {key: _unwrapped(item) for key, item in value.items()}
        url = value.get("@type")
        if isinstance(url, str) and url.rpartition("/")[2] in _STRUCTS:
            inner = value.get("type_url", value.get("typeUrl"))
            content = value.get("value", {})
            if isinstance(inner, str) and isinstance(content, dict):
                return {"@type": _URL + inner.rpartition("/")[2], **content}
        return value
    if isinstance(value, list):
        return [_unwrapped(item) for item in value]
    return value
