"""The HTTP connection manager of a gateway's port. Pure.

It faces strangers, where a pod's listener (compile/envoy/filters.py) faces an application of the mesh: nothing that a
client says about itself is believed, and what it may send is bounded as Envoy bounds it by default. Names of headers go
on in lower case, as at Istio's gateways: to keep how they were written is 6 % of what a request costs Envoy here.
"""

from __future__ import annotations

from tidegate.compile.envoy import http_options
from tidegate.compile.envoy.http_action import CORS_FILTER, FAULT_FILTER
from tidegate.compile.envoy.protojson import Json, ads, named, typed

_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
HEADERS_KIB, HEADERS = 60, 100
# A client that opens a connection, or begins a request, and says no more.
IDLE, HEADERS_TIMEOUT = "3600s", "60s"


def connection_manager(stat_prefix: str, routes: str) -> Json:
    """The filter that serves a port or, with TLS, a server. routes: name of the route configuration."""
    options = http_options.downstream()
    options |= {
        "common_http_protocol_options": {"max_headers_count": HEADERS, "idle_timeout": IDLE},
        "http_protocol_options": in_lower_case(options["http_protocol_options"]),
        "max_request_headers_kb": HEADERS_KIB,
        "request_headers_timeout": HEADERS_TIMEOUT,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "127.0.0.1", "prefix_len": 32}]},
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"subject": True, "cert": True, "dns": True, "uri": True},
        "use_remote_address": True,
    }
    return named(
        "envoy.filters.network.http_connection_manager",
        _HCM,
        stat_prefix=stat_prefix,
        rds={"route_config_name": routes, "config_source": ads()},
        http_filters=[
            named(FAULT_FILTER, "envoy.extensions.filters.http.fault.v3.HTTPFault"),
            named(CORS_FILTER, "envoy.extensions.filters.http.cors.v3.Cors"),
            named("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"),
        ],
        **options,
    )


def in_lower_case(http1: Json) -> Json:
    """Http1ProtocolOptions of either side, without what keeps names of headers as they were written."""
    return {key: value for key, value in http1.items() if key != "header_key_format"}


def spared() -> Json:
    """typed_per_filter_config of a route configuration: filters that only routes with settings for them need."""
    return {name: typed("envoy.config.route.v3.FilterConfig", disabled=True) for name in (FAULT_FILTER, CORS_FILTER)}
