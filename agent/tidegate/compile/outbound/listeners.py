"""Enrolled pods -> Envoy listeners inside their netns, one filter chain each. Pure, one pod at a time."""

from __future__ import annotations

from dataclasses import replace

from tidegate.compile.envoy import bounds
from tidegate.compile.envoy.filters import ANY_ADDRESS, connection_manager, pod_sockets
from tidegate.compile.envoy.protojson import Json, named
from tidegate.model.capture import CAPTURE4_ENVOY, CAPTURE6_ENVOY, RANGE_CLIENT_PORT
from tidegate.model.net import IPAddress
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import EVERY, SCOPES, EnvoyResource, ResourceRef
from tidegate.model.workload import Sandbox

HTTP_MANAGER = "envoy.filters.network.http_connection_manager"


def listener_name(sandbox: Sandbox) -> str:
    """The cookie is in the name: a pod's next sandbox has the same address in another netns, and Envoy would hand the
    old socket over to a listener of the same name."""
    return f"outbound|{sandbox.id}|{sandbox.netns_cookie}"


def pod_listener(sandbox: Sandbox, origins: tuple[Origin, ...], secret: str = "") -> EnvoyResource:
    """The listener of one pod. secret: name of its certificate, see pod_sockets()."""
    name = listener_name(sandbox)
    filters = [bounds.connection_limit()]
    if sandbox.netns_path:
        filters.append(pod_sockets(sandbox.netns_path, secret))
    filters.append(connection_manager(str(sandbox.id), sandbox.netns_cookie))
    body: Json = {
        "name": name,
        "address": pod_address(CAPTURE4_ENVOY, sandbox.capture.envoy4, sandbox),
        # Envoy would count by address, and pods may have equal addresses and ports, each in its own netns.
        "stat_prefix": name,
        "traffic_direction": "OUTBOUND",
        # Envoy's default is a SO_REUSEPORT group, which any process of our uid in the pod's netns may join and so take
        # a share of the connections. One socket, shared by Envoy's workers, cannot be joined.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": bounds.CONNECTION_BUFFER,
        "listener_filters": [
            named(
                "envoy.filters.listener.original_dst", "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
            )
        ],
        "filter_chains": [{"name": "http", "filters": filters}],
    }
    if sandbox.capture.envoy6:
        # The v6 capture prefix is routed to the pod's lo but is no address of any interface; while IPv6 is switched off
        # inside it is not even routed, and nothing is sent there.
        body["freebind"] = True
        body["additional_addresses"] = [{"address": pod_address(CAPTURE6_ENVOY, sandbox.capture.envoy6, sandbox)}]
    return EnvoyResource(name, body, origins, frozenset({ResourceRef(SCOPES, EVERY)}))


def with_ranges(listener: EnvoyResource, sandbox: Sandbox) -> EnvoyResource:
    """A pod's listener with what serves connections that a range led to it: each chain that speaks HTTP once more, for
    those that the client's port marks (bpf/core/names_core.h)."""
    chains: list[Json] = listener.body["filter_chains"]
    plain = listener.plain
    marked = [made for chain in chains if (made := _marked(chain, sandbox)) is not None]
    body = {**listener.body, "filter_chains": [*chains, *marked]}
    return replace(listener, body=body, plain=None if plain is None else lambda: with_ranges(plain(), sandbox))


def completed(listener: EnvoyResource) -> EnvoyResource:
    """A pod's listener whose chains are for whatever comes. Envoy looks at the port first, and once a chain names one,
    no chain that names none is for connections to it: those to other addresses would be closed."""
    chains: list[Json] = listener.body["filter_chains"]
    matches: list[Json] = [chain.get("filter_chain_match", {}) for chain in chains]
    ports = sorted({match["destination_port"] for match in matches if "destination_port" in match})
    plain = next((chain for chain, match in zip(chains, matches, strict=True) if not match), None)
    if not ports or plain is None:
        return listener
    mark: Json = {"source_ports": [RANGE_CLIENT_PORT]}
    marked = next((chain for chain, match in zip(chains, matches, strict=True) if match == mark), None)
    there = [match["destination_port"] for match in matches if match.keys() == {"destination_port", *mark}]
    more = [
        {**marked, "name": f"{marked['name']}|{port}", "filter_chain_match": {"destination_port": port, **mark}}
        for port in (ports if marked else ())
        if marked and port not in there
    ]
    body = {**listener.body, "filter_chains": [*chains, *more], "default_filter_chain": {**plain, "name": "default"}}
    instead = listener.plain
    return replace(listener, body=body, plain=None if instead is None else lambda: completed(instead()))


def _marked(chain: Json, sandbox: Sandbox) -> Json | None:
    ours = connection_manager(str(sandbox.id), sandbox.netns_cookie)["typed_config"]["early_header_mutation_extensions"]
    for at, one in enumerate(chain["filters"]):
        if one["name"] == HTTP_MANAGER:
            settings = one["typed_config"]
            marked = connection_manager(str(sandbox.id), sandbox.netns_cookie, ANY_ADDRESS)["typed_config"]
            others = [e for e in settings.get("early_header_mutation_extensions", ()) if e["name"] != ours[0]["name"]]
            early = [*marked["early_header_mutation_extensions"], *others]
            manager = {**one, "typed_config": {**settings, "early_header_mutation_extensions": early}}
            return {
                **chain,
                "name": f"ranges|{chain['name']}",
                "filter_chain_match": {**chain.get("filter_chain_match", {}), "source_ports": [RANGE_CLIENT_PORT]},
                "filters": [*chain["filters"][:at], manager, *chain["filters"][at + 1 :]],
            }
    return None


def pod_address(address: IPAddress, port: int, sandbox: Sandbox) -> Json:
    """envoy.config.core.v3.Address of a listener inside a pod."""
    out: Json = {"address": str(address), "port_value": port}
    if sandbox.netns_path:
        out["network_namespace_filepath"] = sandbox.netns_path
    return {"socket_address": out}
