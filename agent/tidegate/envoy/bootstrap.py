"""What Envoy is told at start; everything else comes over ADS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tidegate.envoy import statistics

XDS_CLUSTER = "tidegate-xds"
RUNTIME = {
    # Envoy's own limit (100) refuses expressions that people write; validation has the same one (config/limits.py).
    "re2.max_program_size.error_level": 32_768,
    # The heap is what is in use: what was given back stays reserved for a while, and would keep an alarm on.
    "envoy.reloadable_features.fixed_heap_use_allocated": True,
}

MIB = 1024 * 1024
_MONITORS = "envoy.resource_monitors"
_HEAP = f"{_MONITORS}.fixed_heap"
# Streams that hold at least so many bytes are accounted for, as a power of two: 32 KiB. There are eight classes, each
# of twice the size of the one before, and the fuller the heap, the more of them are reset, the largest first.
_ACCOUNTED_POWER = 15


def heap_limit(memory: int) -> int:
    """Bytes of heap that Envoy may have on a node with that many bytes of memory: a quarter, from 512 MiB to 4 GiB.

    10 000 services and 50 pods take 102 MB, so the least is five times what a large cluster needs. Steps of 64 MiB: a
    kernel that keeps a little more for itself is no reason to replace a running Envoy.
    """
    step = 64 * MIB
    return max(512 * MIB, min(memory // 4, 4096 * MIB)) // step * step


def memory_limit(heap: int) -> int:
    """Bytes that Envoy may have with all that its heap is not, which are half of the heap and 256 MiB.

    They are for its code and stacks, for what the allocator keeps, and for what the kernel holds for its sockets.
    The heap's alarms come long before.
    """
    return heap + heap // 2 + 256 * MIB


def bootstrap(
    *, node_id: str, xds_socket: Path, admin_socket: Path, max_connections: int, max_heap: int
) -> dict[str, Any]:
    """The bootstrap in proto-JSON.

    max_connections: number of client connections at which Envoy refuses more; max_heap: bytes, see heap_limit().
    """
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
        "overload_manager": _overload(max_connections, max_heap),
    }


def _overload(max_connections: int, max_heap: int) -> dict[str, Any]:
    """What Envoy does before its memory ends: first to the streams that hold most of it, to everybody only at last."""
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {
                "name": f"{_MONITORS}.global_downstream_max_connections",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3"
                    ".DownstreamConnectionsConfig",
                    "max_active_downstream_connections": str(max_connections),
                },
            },
            {
                "name": _HEAP,
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
                    "max_heap_size_bytes": str(max_heap),
                },
            },
        ],
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": _ACCOUNTED_POWER},
        "actions": [
            {
                "name": "envoy.overload_actions.reset_high_memory_stream",
                # Envoy resets only when this value changes, so it must not saturate before the last resorts begin.
                "triggers": [{"name": _HEAP, "scaled": {"scaling_threshold": 0.7, "saturation_threshold": 1.0}}],
            },
            _action("shrink_heap", 0.85),
            _action("stop_accepting_requests", 0.95),
            _action("stop_accepting_connections", 0.98),
        ],
    }


def _action(name: str, share: float) -> dict[str, Any]:
    """An action that begins when the heap has reached that share of its limit."""
    return {"name": f"envoy.overload_actions.{name}", "triggers": [{"name": _HEAP, "threshold": {"value": share}}]}


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
