"""Files that rules name -> Secrets of Envoy. Pure: they say where files are, and nobody here reads one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from tidegate.compile.derive import Read, derived
from tidegate.compile.envoy.upstream_tls import file_secrets
from tidegate.compile.tables import DESTINATION_RULES
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import EnvoyResource, ResourcesByName
from tidegate.model.traffic import ClientTls, DestinationRule, TlsMode, TrafficPolicy


def secrets(read: Read) -> ResourcesByName:
    """Every Secret that a rule's files are, by name, with the rules that it came from."""
    return read(_of_rules, "")


@derived
def _of_rules(read: Read, _: str) -> ResourcesByName:
    rules = {id(rule): rule for group in read.all(DESTINATION_RULES).values() for rule in group}
    origins: dict[str, list[Origin]] = {}
    bodies = {}
    for rule in sorted(rules.values(), key=lambda r: (r.namespace, r.name)):
        for tls in (tls for tls in tls_of(rule) if tls.mode is not TlsMode.ISTIO_MUTUAL):
            for name, body in file_secrets(replace(tls, credential="")):
                bodies[name] = body
                if rule.origin not in origins.setdefault(name, []):
                    origins[name].append(rule.origin)
    return {name: EnvoyResource(name, body, tuple(origins[name])) for name, body in sorted(bodies.items())}


def tls_of(rule: DestinationRule) -> Iterator[ClientTls]:
    """All that a rule says of TLS to servers, at every level."""
    for policy in (rule.policy, *(subset.policy for subset in rule.subsets)):
        yield from _of_policy(policy)


def hosts_of_identities(rules: Iterable[DestinationRule]) -> frozenset[str]:
    """Of which hosts a rule says mutual TLS of the mesh; they may start with "*"."""
    return frozenset(rule.host for rule in rules if any(tls.mode is TlsMode.ISTIO_MUTUAL for tls in tls_of(rule)))


def _of_policy(policy: TrafficPolicy) -> Iterator[ClientTls]:
    if policy.tls is not None:
        yield policy.tls
    for entry in policy.ports.values():
        yield from _of_policy(entry)
