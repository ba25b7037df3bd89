"""The sidecar model: an Envoy in each pod, iptables REDIRECT on the way out of one and into the other.

What is left out favours it: no mTLS, no telemetry or policy filters, no access log, no control plane.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.bench.contestants import SERVER_PORT, THREADS, Route
from tests.bench.loads import HTTP
from tests.bench.processes import Program, run
from tests.bench.topology import Pod, Topology

OUTBOUND, INBOUND = 15001, 15006
# The rules let the proxies' own connections pass by group, not by user: root then still reads files of the checkout.
# Only SYNs: tidegate's Envoy keeps connections in the same pods from run to run, and connection tracking takes the
# first packet that it sees of one for new. Redirected in the middle it is reset, and tidegate's next answer is a 503.
GROUP = 1337
NETWORK = "type.googleapis.com/envoy.extensions.filters.network"

RULES_OUT = f"""*nat
:BENCH_OUT - [0:0]
-A OUTPUT -p tcp -j BENCH_OUT
-A BENCH_OUT -m owner --gid-owner {GROUP} -j RETURN
-A BENCH_OUT -d 127.0.0.1/32 -j RETURN
-A BENCH_OUT -p tcp --syn -j REDIRECT --to-ports {OUTBOUND}
COMMIT
"""
RULES_IN = f"""*nat
:BENCH_IN - [0:0]
-A PREROUTING -p tcp -j BENCH_IN
-A BENCH_IN -p tcp --syn -j REDIRECT --to-ports {INBOUND}
COMMIT
"""


class Sidecars(Route):
    """Client → its Envoy → server pod's Envoy → server, both hops by REDIRECT and the original_dst filter."""

    name = "envoy2_iptables"

    def __init__(self, topology: Topology, envoy: Path) -> None:
        super().__init__(topology)
        self._envoy = envoy

    def start(self, work: Path) -> None:
        http = SERVER_PORT + HTTP
        upstream = static_cluster("service", self.topology.server.ip, http)
        sides = (
            ("outbound", self.topology.client, OUTBOUND, upstream),
            ("inbound", self.topology.server, INBOUND, original_dst_cluster("service")),
        )
        for name, pod, port, cluster in sides:
            file = work / f"{name}.json"
            file.write_text(json.dumps(bootstrap(name, port, http, cluster)))
            options = ["--concurrency", str(THREADS), "--disable-hot-restart", "--log-level", "error"]
            command = ["setpriv", "--regid", str(GROUP), "--clear-groups", str(self._envoy), "-c", str(file), *options]
            self.programs.append(Program(f"envoy {name}", pod.command(command)))

    def activate(self) -> None:
        run(*self.topology.client.command(["iptables-restore", "--noflush"]), stdin=RULES_OUT)
        run(*self.topology.server.command(["iptables-restore", "--noflush"]), stdin=RULES_IN)

    def deactivate(self) -> None:
        # Deleting the table, not only its rules, takes the hooks of connection tracking out of the pod again.
        for pod in (self.topology.client, self.topology.server):
            if has_nat(pod):
                run(*pod.command(["nft", "delete", "table", "ip", "nat"]))


def has_nat(pod: Pod) -> bool:
    """Whether the pod has a table ip nat."""
    return "table ip nat" in run(*pod.command(["nft", "list", "tables"]))


def bootstrap(name: str, port: int, http_port: int, http_cluster: dict[str, Any]) -> dict[str, Any]:
    """One listener for redirected connections: HTTP for the HTTP port, bytes for every other."""
    http = {
        "@type": f"{NETWORK}.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {
            "name": name,
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": http_cluster["name"], "timeout": "0s"}}],
                }
            ],
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    tcp = {
        "@type": f"{NETWORK}.tcp_proxy.v3.TcpProxy",
        "stat_prefix": name,
        "cluster": "passthrough",
    }
    listener = {
        "name": name,
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": port}},
        "listener_filters": [
            {
                "name": "envoy.filters.listener.original_dst",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
                },
            }
        ],
        "filter_chains": [
            {
                "filter_chain_match": {"destination_port": http_port},
                "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": http}],
            }
        ],
        "default_filter_chain": {"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": tcp}]},
    }
    return {
        "node": {"id": name, "cluster": "bench"},
        "static_resources": {"listeners": [listener], "clusters": [http_cluster, original_dst_cluster("passthrough")]},
    }


def original_dst_cluster(name: str) -> dict[str, Any]:
    """Connect to where the connection was going before REDIRECT."""
    return {"name": name, "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": "5s"}


def static_cluster(name: str, address: str, port: int) -> dict[str, Any]:
    """One endpoint."""
    endpoint = {"endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
