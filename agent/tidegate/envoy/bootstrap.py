"""What Envoy is told at start; everything else comes over ADS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tidegate.envoy import statistics

XDS_CLUSTER = "tidegate-xds"
# Envoy's own limit (100) refuses expressions that people write; validation has the same one (config/limits.py).
RUNTIME = {"re2.max_program_size.error_level": 32_768}


def bootstrap(*, node_id: str, xds_socket: Path, admin_socket: Path, max_connections: int) -> dict[str, Any]:
    """The bootstrap in proto-JSON. max_connections: number of client connections at which Envoy refuses more."""
    ads_source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    return {
        "node": {"id": node_id, "cluster": "tidegate"},
        "admin": {"address": {"pipe": {"path": str(admin_socket), "mode": 0o600}}},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER, "retry_policy": _reconnect()}}],
            },
            "cds_config": ads_source,
            "lds_config": ads_source,
        },
        "static_resources": {"clusters": [_xds_cluster(xds_socket)]},
        "stats_config": {
            "stats_matcher": {"inclusion_list": {"patterns": [{"safe_regex": {"regex": r}} for r in statistics.READ]}}
        },
        # What a cluster counts is made when the first request goes there.
        "deferred_stat_options": {"enable_deferred_creation_stats": True},
        "layered_runtime": {
            "layers": [
                {"name": "static", "static_layer": dict(RUNTIME)},
                {"name": "admin", "admin_layer": {}},
            ]
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3"
                        ".DownstreamConnectionsConfig",
                        "max_active_downstream_connections": str(max_connections),
                    },
                }
            ]
        },
    }


def _reconnect() -> dict[str, Any]:
    # Envoy's default (0.5 s doubling to 30 s) would keep a restarted agent waiting longer than its pods may.
    return {"retry_back_off": {"base_interval": "0.05s", "max_interval": "0.5s"}}


def _xds_cluster(socket: Path) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(socket)}}}}
    return {
        "name": XDS_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": XDS_CLUSTER, "endpoints": [{"lb_endpoints": [endpoint]}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }
