"""Mutual TLS of the mesh ends in front of the pod, at ports whose clients a rule makes begin it. Pure.

As upstream's PERMISSIVE: clients of the mesh are known by what they offer (ALPN), and whatever else comes goes on as it
is, be it plain or the application's own TLS. So each chain of such a port is there twice.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from tidegate.compile.envoy.identities import server_context
from tidegate.compile.envoy.protojson import Json, named
from tidegate.compile.inbound.ports import ServedPort
from tidegate.model.hosts import host_matches

OFFERED = ("istio-http/1.1", "istio-h2", "istio", "istio-peer-exchange")  # by clients of the mesh, ours or Istio's
_SPOKEN = ("istio-h2", "istio-http/1.1", "istio", "h2", "http/1.1")
_HTTP_MANAGER = "envoy.filters.network.http_connection_manager"
HELLO_SECONDS = 5  # whoever says nothing for longer begins no TLS


def with_mutual(ports: Sequence[ServedPort], hosts: Collection[str]) -> tuple[ServedPort, ...]:
    """The ports, with those marked that lead from one of these hosts."""
    return tuple(
        replace(port, mutual=True)
        if any(host_matches(host, led.fqdn) for led in port.services for host in hosts)
        else port
        for port in ports
    )


def ended(body: Json, chains: Sequence[tuple[ServedPort, Json]], secret: str, domains: Sequence[str]) -> Json:
    """A pod's inbound listener with these chains. secret: name of its certificate; domains: whose clients it takes."""
    made: list[Json] = []
    for port, chain in chains:
        if port.mutual:
            made.append(_secured(chain, secret, domains))
        made.append(chain)
    out = {**body, "filter_chains": made}
    if numbers := sorted(port.number for port, _ in chains if port.mutual):
        out["listener_filters"] = [*body.get("listener_filters", ()), _inspector(numbers)]
        out["listener_filters_timeout"] = f"{HELLO_SECONDS}s"
        out["continue_on_listener_filters_timeout"] = True
    return out


def _secured(chain: Json, secret: str, domains: Sequence[str]) -> Json:
    match = {**chain["filter_chain_match"], "transport_protocol": "tls", "application_protocols": list(OFFERED)}
    return {
        **chain,
        "name": f"{chain['name']}_mtls",
        "filter_chain_match": match,
        "filters": [_telling(one) for one in chain["filters"]],
        "transport_socket": server_context(secret, domains, _SPOKEN),
    }


def _telling(one: Json) -> Json:
    """HTTP says who the client is, as upstream: the last in X-Forwarded-Client-Cert is who has come."""
    if one["name"] != _HTTP_MANAGER:
        return one
    told: dict[str, Any] = {
        **one["typed_config"],
        "forward_client_cert_details": "APPEND_FORWARD",
        "set_current_client_cert_details": {"subject": True, "dns": True, "uri": True},
    }
    return {**one, "typed_config": told}


def _inspector(ports: Sequence[int]) -> Json:
    """Looks for TLS at these ports, and keeps nobody waiting at any other."""
    ranges: list[Json] = [{"destination_port_range": {"start": port, "end": port + 1}} for port in ports]
    wanted: Json = ranges[0] if len(ranges) == 1 else {"or_match": {"rules": ranges}}
    made = named(
        "envoy.filters.listener.tls_inspector", "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
    )
    return {**made, "filter_disabled": {"not_match": wanted}}
