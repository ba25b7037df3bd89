"""Which Secrets this process needs: those that a Gateway or a DestinationRule names, and no other. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tidegate.model.gateway import Gateway
from tidegate.model.mesh import MeshObject
from tidegate.model.secret import AUTHORITIES_OF
from tidegate.model.traffic import DestinationRule


def wanted(values: Iterable[MeshObject], gateways_in: frozenset[str]) -> frozenset[tuple[str, str]]:
    """Namespace and name of each. gateways_in: namespaces of the gateways that this process serves; a Gateway's Secrets
    are there, and so are those by which they begin TLS. Pods have theirs in the namespace of the rule."""
    return frozenset(_named(values, gateways_in))


def _named(values: Iterable[MeshObject], gateways_in: frozenset[str]) -> Iterator[tuple[str, str]]:
    for value in values:
        if isinstance(value, Gateway):
            for namespace in gateways_in:
                yield from ((namespace, name) for name in _of_gateway(value))
        elif isinstance(value, DestinationRule):
            for credential in value.credentials:
                yield from _with_authorities(value.namespace, credential.name)
            for name in _of_rule(value) if gateways_in else ():
                for namespace in gateways_in:
                    yield from _with_authorities(namespace, name)


def _with_authorities(namespace: str, name: str) -> Iterator[tuple[str, str]]:
    yield namespace, name
    yield namespace, name + AUTHORITIES_OF


def _of_gateway(gateway: Gateway) -> Iterator[str]:
    for server in gateway.servers:
        tls = server.tls
        if tls is None:
            continue
        yield from tls.credentials
        if tls.ca_credential:
            yield tls.ca_credential
        elif tls.mode.asks_client and tls.credentials:
            yield tls.credentials[0] + AUTHORITIES_OF


def _of_rule(rule: DestinationRule) -> Iterator[str]:
    for policy in (rule.policy, *(subset.policy for subset in rule.subsets)):
        for one in (policy, *policy.ports.values()):
            if one.tls is not None and one.tls.credential:
                yield one.tls.credential
