"""Small pieces of Envoy's API in proto-JSON that several resources share."""

from __future__ import annotations

from typing import Any

from tidegate.model.net import IPAddress
from tidegate.model.routing import MILLION, Match, StringMatch

Json = dict[str, Any]
_TYPES = "type.googleapis.com/"


def ads() -> Json:
    """envoy.config.core.v3.ConfigSource: over the stream itself. New each time: bodies share nothing."""
    return {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}


def typed(type_name: str, **fields: Any) -> Json:
    """An Any: type_name without the type.googleapis.com/ prefix."""
    return {"@type": _TYPES + type_name, **fields}


def named(name: str, type_name: str, **fields: Any) -> Json:
    """A filter or other extension."""
    return {"name": name, "typed_config": typed(type_name, **fields)}


def duration(milliseconds: int) -> str:
    """proto-JSON Duration."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds}.{rest:03d}s" if rest else f"{seconds}s"


def share(parts_per_million: int) -> Json:
    """envoy.type.v3.FractionalPercent."""
    return {"numerator": min(parts_per_million, MILLION), "denominator": "MILLION"}


def socket_address(address: IPAddress, port: int) -> Json:
    return {"socket_address": {"address": str(address), "port_value": port}}


def string_matcher(match: StringMatch) -> Json:
    """envoy.type.matcher.v3.StringMatcher; not for Match.PRESENT."""
    if match.how is Match.EXACT:
        return {"exact": match.value}
    if match.how is Match.PREFIX:
        return {"prefix": match.value}
    return {"safe_regex": {"regex": match.value}}
