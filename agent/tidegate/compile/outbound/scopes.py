"""Addresses at which HTTP services are dialled -> Envoy scopes, which say where the routes of an address are.

A scope is all that Envoy knows of a service that nobody on the node uses; it asks for the routes when the first request
comes, and holds the request until they are there. Pure, one address at a time.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Final

from tidegate.model.net import IPAddress, host_port
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import ROUTES, EnvoyResource, ResourceRef

# What Envoy is told that a client dialled whose destination nobody in the registry has (bpf/sockopt.bpf.c).
UNKNOWN: Final = (IPv4Address("0.0.0.0"), IPv6Address("::"))


def scope_name(address: IPAddress, port: int) -> str:
    """ADDRESS:PORT as Envoy writes a dialled address, which inet_ntop() made."""
    mapped = address.ipv4_mapped if address.version == 6 else None
    return host_port(f"::ffff:{mapped}" if mapped else str(address), port)


def scope(address: IPAddress, port: int, routes: str, origins: tuple[Origin, ...]) -> EnvoyResource:
    """The scope of one dialled address. routes: name of the route configuration."""
    return _scope(scope_name(address, port), routes, origins)


def range_scope(port: int, routes: str, origins: tuple[Origin, ...]) -> EnvoyResource:
    """The scope of a port of all ranges (compile/envoy/filters.py, ANY_ADDRESS)."""
    return _scope(f"*:{port}", routes, origins)


def _scope(name: str, routes: str, origins: tuple[Origin, ...]) -> EnvoyResource:
    body = {
        "name": name,
        "on_demand": True,
        "route_configuration_name": routes,
        "key": {"fragments": [{"string_key": name}]},
    }
    return EnvoyResource(name, body, origins, frozenset({ResourceRef(ROUTES, routes)}))
