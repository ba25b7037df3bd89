"""A snapshot as one static bootstrap, so that the real Envoy judges every resource without a control plane."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from tests.support.eventually import HANG_SECONDS
from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, EnvoyResource

ENVOY = Path(__file__).parents[2] / ".venv" / "bin" / "envoy"
Resources = Mapping[str, Mapping[str, EnvoyResource]]


def messages(envoy: Resources) -> dict[str, Any]:
    """Every resource as a message of Envoy's API. Raises json_format.ParseError for a field that does not exist."""
    import_extensions()
    from envoy.config.cluster.v3.cluster_pb2 import Cluster
    from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
    from envoy.config.listener.v3.listener_pb2 import Listener
    from envoy.config.route.v3.route_pb2 import RouteConfiguration

    types = {
        LISTENERS: Listener,
        ROUTES: RouteConfiguration,
        CLUSTERS: Cluster,
        ENDPOINTS: ClusterLoadAssignment,
    }
    return {
        f"{kind}/{name}": json_format.ParseDict(dict(resource.body), types[kind]())
        for kind, resources in envoy.items()
        for name, resource in resources.items()
    }


def import_extensions() -> None:
    """Load the messages that stand inside Any fields."""
    from envoy.extensions.access_loggers.file.v3 import file_pb2  # noqa: F401
    from envoy.extensions.filters.http.cors.v3 import cors_pb2  # noqa: F401
    from envoy.extensions.filters.http.fault.v3 import fault_pb2  # noqa: F401
    from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401
    from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2  # noqa: F401
    from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2  # noqa: F401
    from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2  # noqa: F401
    from envoy.extensions.matching.common_inputs.network.v3 import network_inputs_pb2  # noqa: F401
    from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2  # noqa: F401
    from envoy.extensions.retry.priority.previous_priorities.v3 import previous_priorities_config_pb2  # noqa: F401
    from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401
    from google.protobuf import wrappers_pb2  # noqa: F401
    from xds.type.matcher.v3 import ip_pb2  # noqa: F401


def static_bootstrap(envoy: Resources) -> dict[str, Any]:
    """Routes and endpoints inlined where listeners and clusters ask for them by name."""
    listeners = [_inline_routes(dict(r.body), envoy[ROUTES]) for r in envoy[LISTENERS].values()]
    clusters = []
    for resource in envoy[CLUSTERS].values():
        cluster = dict(resource.body)
        if cluster.pop("eds_cluster_config", None):
            cluster["type"] = "STATIC"
            cluster["load_assignment"] = dict(envoy[ENDPOINTS][resource.name].body)
        clusters.append(cluster)
    return {"static_resources": {"listeners": listeners, "clusters": clusters}}


def _inline_routes(value: Any, routes: Mapping[str, EnvoyResource]) -> Any:
    if isinstance(value, list):
        return [_inline_routes(v, routes) for v in value]
    if not isinstance(value, dict):
        return value
    out = {k: _inline_routes(v, routes) for k, v in value.items() if k != "rds"}
    if "rds" in value:
        out["route_config"] = dict(routes[value["rds"]["route_config_name"]].body)
    return out


def validate(envoy: Resources, directory: Path) -> str:
    """What `envoy --mode validate` says about the snapshot; empty when it is content."""
    path = directory / "bootstrap.json"
    path.write_text(json.dumps(static_bootstrap(envoy)))
    command = [str(ENVOY), "--mode", "validate", "-c", str(path), "--log-level", "warn"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_SECONDS, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr
