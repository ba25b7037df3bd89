"""Enrolled pods -> Envoy listeners inside their netns: one filter chain per service port, then routes by RDS.

Which chain serves an address is said beside the chains, not in them: Envoy ends the connections of a chain that changes
once it has drained, and a headless service's addresses change with each of its pods.
"""

from __future__ import annotations

from collections.abc import Iterable

from tidegate.compile.clusters import PASSTHROUGH
from tidegate.compile.destinations import Claim
from tidegate.compile.http_action import CORS_FILTER, FAULT_FILTER
from tidegate.compile.protojson import ADS, Json, named, typed
from tidegate.model.capture import CAPTURE4_ENVOY, CAPTURE6_ENVOY
from tidegate.model.net import IPAddress
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import EnvoyResource
from tidegate.model.workload import Sandbox

_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def listener_name(sandbox: Sandbox) -> str:
    """The cookie is in the name: a pod's next sandbox has the same address in another netns, and Envoy would hand the
    old socket over to a listener of the same name."""
    return f"outbound|{sandbox.id}|{sandbox.netns_cookie}"


def pod_listener(
    sandbox: Sandbox, chains: list[Json], matcher: Json | None, origins: tuple[Origin, ...]
) -> EnvoyResource:
    """The listener of one pod. chains: of filter_chain(), matcher: of chain_matcher(); both shared between pods."""
    name = listener_name(sandbox)
    body: Json = {
        "name": name,
        "address": _address(CAPTURE4_ENVOY, sandbox.capture.envoy4, sandbox),
        # Envoy would count by address, and pods may have equal addresses and ports, each in its own netns.
        "stat_prefix": name,
        "traffic_direction": "OUTBOUND",
        # Envoy's default is a SO_REUSEPORT group, which any process of our uid in the pod's netns may join and so take
        # a share of the connections. One socket, shared by Envoy's workers, cannot be joined.
        "enable_reuse_port": False,
        "listener_filters": [
            named(
                "envoy.filters.listener.original_dst", "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
            )
        ],
        "filter_chains": chains,
        "default_filter_chain": _passthrough_chain(),
    }
    if matcher is not None:
        body["filter_chain_matcher"] = matcher
    if sandbox.v6_capture and sandbox.capture.envoy6:
        # The v6 capture prefix is routed to the pod's lo but is no address of any interface.
        body["freebind"] = True
        body["additional_addresses"] = [{"address": _address(CAPTURE6_ENVOY, sandbox.capture.envoy6, sandbox)}]
    return EnvoyResource(name, body, origins)


def filter_chain(claim: Claim, route_config: str) -> Json:
    """The chain of one HTTP service port."""
    manager: Json = {
        "stat_prefix": f"outbound|{claim.port.port}||{claim.service.id.fqdn}",
        "codec_type": "AUTO",
        "rds": {"config_source": ADS, "route_config_name": route_config},
        "http_filters": [
            named(FAULT_FILTER, "envoy.extensions.filters.http.fault.v3.HTTPFault"),
            named(CORS_FILTER, "envoy.extensions.filters.http.cors.v3.Cors"),
            named("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"),
        ],
        # The peer address is the client pod's, so this puts it into X-Forwarded-For.
        "use_remote_address": True,
        # The pod may itself be a proxy (an ingress that ended TLS): its X-Forwarded-Proto stays. Without a trusted hop
        # Envoy says "http", and applications behind it redirect to https for ever.
        "xff_num_trusted_hops": 1,
        "preserve_external_request_id": True,
        "server_header_transformation": "PASS_THROUGH",
        "normalize_path": True,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http_protocol_options": {
            "accept_http_10": True,
            "default_host_for_http_10": claim.service.id.fqdn,
        },
        # Applications keep idle streams (long polls, watches) open as long as they like.
        "stream_idle_timeout": "0s",
        "proxy_100_continue": True,
    }
    return {
        "name": claim.name,
        "filters": [named("envoy.filters.network.http_connection_manager", _HCM, **manager)],
    }


def chain_matcher(claims: Iterable[Claim]) -> Json | None:
    """The dialled port, then the dialled address -> name of the filter chain; None without any claim."""
    ports: dict[str, list[Json]] = {}
    for claim in claims:
        chain = {"name": claim.name, "typed_config": typed("google.protobuf.StringValue", value=claim.name)}
        ranges = [_host_prefix(a) for a in claim.addresses]
        ports.setdefault(str(claim.port.port), []).append({"ranges": ranges, "on_match": {"action": chain}})
    if not ports:
        return None
    by_port = {
        port: {
            "matcher": {
                "matcher_tree": {
                    "input": _input("DestinationIPInput"),
                    "custom_match": named("address", "xds.type.matcher.v3.IPMatcher", range_matchers=addresses),
                }
            }
        }
        for port, addresses in ports.items()
    }
    return {"matcher_tree": {"input": _input("DestinationPortInput"), "exact_match_map": {"map": by_port}}}


def _input(name: str) -> Json:
    return named(name, f"envoy.extensions.matching.common_inputs.network.v3.{name}")


def _passthrough_chain() -> Json:
    proxy = named(
        "envoy.filters.network.tcp_proxy",
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix=PASSTHROUGH,
        cluster=PASSTHROUGH,
    )
    return {"name": "passthrough", "filters": [proxy]}


def _address(address: IPAddress, port: int, sandbox: Sandbox) -> Json:
    out: Json = {"address": str(address), "port_value": port}
    if sandbox.netns_path:
        out["network_namespace_filepath"] = sandbox.netns_path
    return {"socket_address": out}


def _host_prefix(address: IPAddress) -> Json:
    return {"address_prefix": str(address), "prefix_len": address.max_prefixlen}
