"""A real Envoy with the connection manager, routes and clusters that we compile, before servers on this machine's
loopback: what a client sees through the mesh, beside what it sees without. Needs no root and no lab."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support.configs import config_of, pod, service
from tests.support.envoy_static import ENVOY
from tests.support.eventually import HANG_SECONDS, eventually
from tidegate.compile.derive import Read
from tidegate.compile.envoy.clusters import ClusterKey, cluster, endpoints
from tidegate.compile.envoy.filters import connection_manager, pod_sockets
from tidegate.compile.envoy.secrets import secrets
from tidegate.compile.facts import join
from tidegate.compile.l4.carried import envoy_carries
from tidegate.compile.outbound.credentials import pod_secrets
from tidegate.compile.outbound.destinations import claims
from tidegate.compile.outbound.filtered import Filtered
from tidegate.compile.outbound.forwards import CarriedPort, forwards, with_forwards
from tidegate.compile.outbound.routes import RouteCompiler
from tidegate.compile.registry import Registry
from tidegate.compile.rules import Rules
from tidegate.compile.visibility import Source
from tidegate.model.plan.envoy import CLUSTERS, EnvoyResource
from tidegate.model.tls_files import DEFAULT_ROOT

CLIENT = "default/client"
ANY_PORT = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}


def web(port: int, name: str = "http") -> str:
    """Documents of a service web whose only pod is this machine, at a port."""
    return service("web", f"{name}:80:{port}", ips="10.96.0.1") + "---" + pod("web", "app: web", "127.0.0.1")


@contextlib.contextmanager
def meshed(
    directory: Path,
    *documents: str,
    netns: Mapping[str, str] | None = None,
    node: str = "",
    labels: Mapping[str, str] | None = None,
) -> Iterator[dict[str, int]]:
    """Runs Envoy with what these documents become; FQDN:port of each port that Envoy serves -> where it listens for it.

    The listeners differ from a pod's in where they are and in that they have their routes inside. netns: by FQDN:port,
    the network namespace that a listener says its pod is in. node: where all this is; labels: of the client. Files that
    rules name are below directory/tls, by namespace.
    """
    config = config_of(*documents)
    read = Read(join(config, (), node=node).tables)
    registry, rules = Registry(read), Rules(read)
    client = Source("default", labels or {})
    compiler = RouteCompiler(registry, rules, {CLIENT: client})
    listeners, clusters = [], {}
    for claim in (claim for fqdn in registry.services for claim in read(claims, fqdn)):
        if not claim.port.protocol.is_http:
            if envoy_carries(read, claim.service, claim.port, client):
                made = _carrying(claim.name, forwards(read, Filtered(), claim, client))
                listeners.append(dict(made.body))
                clusters.update({name: _static(registry, rules, name) for name in made.needs(CLUSTERS)})
            continue
        routes = compiler.compile(claim.service, claim.port)
        listeners.append(_listener(claim.name, dict(routes.body), (netns or {}).get(claim.name, "")))
        for name in routes.needs(CLUSTERS):
            clusters[name] = _static(registry, rules, name)
    static = {
        "listeners": listeners,
        "clusters": [_here(c, directory) for c in clusters.values() if c],
        "secrets": [
            _here(dict(secret.body), directory)
            for table in (secrets(read), pod_secrets(config.destination_rules, config.secrets))
            for secret in table.values()
        ],
    }
    with _envoy(directory, static) as admin:
        yield eventually(lambda: _ports(admin, len(listeners)), "Envoy listens")


def _listener(name: str, routes: dict[str, Any], netns: str) -> dict[str, Any]:
    manager = connection_manager(CLIENT, 1)
    config = manager["typed_config"]
    del config["scoped_routes"]
    config["http_filters"] = [f for f in config["http_filters"] if f["name"] != "envoy.filters.http.on_demand"]
    config["route_config"] = routes
    filters = [pod_sockets(netns), manager] if netns else [manager]
    return {"name": name, "address": ANY_PORT, "filter_chains": [{"filters": filters}]}


def _carrying(name: str, found: tuple[CarriedPort, ...]) -> EnvoyResource:
    """A listener with the chains of a port that is not HTTP, for whoever dials it here."""
    body = {"name": name, "address": ANY_PORT, "filter_chains": [], "listener_filters": []}
    made = with_forwards(EnvoyResource(name, body), found, "")
    for chain in made.body["filter_chains"]:
        chain["filter_chain_match"] = {
            key: value
            for key, value in chain["filter_chain_match"].items()
            if key not in ("destination_port", "prefix_ranges")
        }
    for one in made.body["listener_filters"]:
        del one["filter_disabled"]
    return made


def _static(registry: Registry, rules: Rules, name: str) -> dict[str, Any] | None:
    key = ClusterKey.parse(name)
    made = cluster(registry, rules, key) if key else None
    if key is None or made is None:
        return None
    body = dict(made.body)
    if body.pop("eds_cluster_config", None):
        found = endpoints(registry, rules, key)
        assert found is not None
        body.update(type="STATIC", load_assignment=dict(found.body))
    return body


def _here(body: Any, directory: Path) -> Any:
    """A resource that stands beside its secrets instead of asking for them, with the test's files."""
    if isinstance(body, dict):
        return {k: _here(v, directory) for k, v in body.items() if k not in ("sds_config", "watched_directory")}
    if isinstance(body, list):
        return [_here(part, directory) for part in body]
    return (
        body.replace(DEFAULT_ROOT, str(directory / "tls"), 1)
        if isinstance(body, str) and body.startswith(DEFAULT_ROOT)
        else body
    )


@contextlib.contextmanager
def _envoy(directory: Path, static: dict[str, Any]) -> Iterator[Path]:
    config, log, admin = directory / "bootstrap.json", directory / "log", directory / "admin"
    config.write_text(json.dumps({"admin": {"address": ANY_PORT}, "static_resources": static}))
    command = [str(ENVOY), "-c", str(config), "--admin-address-path", str(admin), "--use-dynamic-base-id"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--concurrency", "1", "--log-level", "warn"], stdout=output, stderr=output
        )
    try:
        eventually(lambda: admin.exists() or process.poll() is not None, "Envoy starts")
        assert process.poll() is None, log.read_text()
        yield admin
    finally:
        process.terminate()
        process.wait(HANG_SECONDS)


def _ports(admin: Path, count: int) -> dict[str, int]:
    """Port of each listener by its name; empty until all are there."""
    host, _, port = admin.read_text().rpartition(":")
    if not port:
        return {}
    with closing(http.client.HTTPConnection(host, int(port), timeout=HANG_SECONDS)) as connection:
        try:
            connection.request("GET", "/listeners?format=json")
            found = json.loads(connection.getresponse().read()).get("listener_statuses", [])
        except OSError:
            return {}
    chosen = {f["name"]: f["local_address"]["socket_address"]["port_value"] for f in found}
    return chosen if len(chosen) == count else {}
