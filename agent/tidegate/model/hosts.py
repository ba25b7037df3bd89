"""Host names of the Istio API: short names, wildcards, specificity."""

from __future__ import annotations

from ipaddress import ip_address

from tidegate.model.names import cluster_domain


def resolve_host(host: str, namespace: str) -> str:
    """Full name in lower case of a host written in a rule of that namespace.

    A name without any dot is a service of the rule's own namespace; a name with a dot is complete already, so
    ``reviews.prod`` stays ``reviews.prod``. Wildcards and addresses stay as they are.
    """
    host = host.lower()
    if "." in host or host.startswith("*") or is_address(host):
        return host
    return f"{host}.{namespace}.svc.{cluster_domain()}"


def is_address(host: str) -> bool:
    """Whether the host is an IP address."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def in_cluster(host: str) -> bool:
    """Whether a complete name is one that only a service can have."""
    return host.endswith(f".svc.{cluster_domain()}") and not host.startswith("*")


def host_matches(pattern: str, host: str) -> bool:
    """Whether a rule's host (perhaps ``*...``) covers a complete name. ``*.foo.com`` does not cover ``foo.com``."""
    if pattern.startswith("*"):
        return host.endswith(pattern[1:]) and len(host) >= len(pattern)
    return pattern == host


def overlap(one: str, other: str) -> str:
    """The hosts that two names, each perhaps with a wildcard, have in common: the narrower of them; empty if none."""
    if host_matches(one, other):
        return other
    return one if host_matches(other, one) else ""


def specificity(pattern: str) -> tuple[int, int, str]:
    """Sort key, most specific first: exact names, then longer patterns, then alphabetical."""
    return (1 if pattern.startswith("*") else 0, -len(pattern), pattern)
