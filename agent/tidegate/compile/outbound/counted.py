"""How Envoy counts the connections that it carries: by who asked whom, and who served. Pure.

Read by telemetry/carried.py. Sums of statistics, and no line for each connection: what a pod can make the agent do does
not grow with the connections that it makes.
"""

from __future__ import annotations

from collections.abc import Iterable

from tidegate.compile.envoy import private
from tidegate.compile.envoy.protojson import Json, named

CHOSEN = "%UPSTREAM_CLUSTER%"  # the service that a route chose; its cluster's name says which
_OPENED, _ENDED = "TcpUpstreamConnected", "TcpConnectionEnd"  # of envoy.data.accesslog.v3.AccessLogType


def counted(cookie: int, service_port: str) -> Json:
    """What makes a tcp_proxy count. cookie: netns of the client; service_port: FQDN:PORT that it dialled, or CHOSEN.

    Bytes are counted when a connection ends.
    """
    return {
        "access_log": _access_log(cookie, service_port),
        "access_log_options": {"flush_access_log_on_connected": True},
    }


def _access_log(cookie: int, service_port: str) -> list[Json]:
    tags: list[Json] = [
        {"name": private.POD, "value_format": str(cookie)},
        {"name": private.SERVICE, "value_format": service_port},
        {"name": private.ENDPOINT, "value_format": "%UPSTREAM_HOST%"},
    ]
    # Who never got through was not told to have been connected: an endpoint was tried, and there is no socket to it.
    ended = [*tags, {"name": private.FROM, "value_format": "%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%"}]
    return [
        _counters(_OPENED, [_counter(private.CARRIED_OPENED, tags, value_fixed="1")]),
        _counters(
            _ENDED,
            [
                _counter(private.CARRIED_CLOSED, ended, value_fixed="1"),
                _counter(private.CARRIED_SENT, tags, value_format="%BYTES_SENT%"),
                _counter(private.CARRIED_RECEIVED, tags, value_format="%BYTES_RECEIVED%"),
            ],
        ),
    ]


def _counter(name: str, tags: Iterable[Json], **value: str) -> Json:
    return {"stat": {"name": name, "tags": [dict(tag) for tag in tags]}, **value}


def _counters(when: str, counters: list[Json]) -> Json:
    logger = named(
        "envoy.access_loggers.stats",
        "envoy.extensions.access_loggers.stats.v3.Config",
        stat_prefix=private.STATS,
        counters=counters,
    )
    return {**logger, "filter": {"log_type_filter": {"types": [when]}}}
