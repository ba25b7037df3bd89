"""Files that rules name -> Secrets of Envoy. Pure: they say where files are, and nobody here reads one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tidegate.compile.derive import Read, derived
from tidegate.compile.envoy.upstream_tls import file_secrets
from tidegate.compile.tables import DESTINATION_RULES
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import EnvoyResource, ResourcesByName
from tidegate.model.traffic import ClientTls, DestinationRule, TrafficPolicy


def secrets(read: Read) -> ResourcesByName:
    """Every Secret that a rule's files are, by name, with the rules that it came from."""
    return read(_of_rules, "")


@derived
def _of_rules(read: Read, _: str) -> ResourcesByName:
    rules = {id(rule): rule for group in read.all(DESTINATION_RULES).values() for rule in group}
    origins: dict[str, list[Origin]] = {}
    bodies = {}
    for rule in sorted(rules.values(), key=lambda r: (r.namespace, r.name)):
        for tls in tls_of(rule):
            for name, body in file_secrets(replace(tls, credential="")):
                bodies[name] = body
                if rule.origin not in origins.setdefault(name, []):
                    origins[name].append(rule.origin)
    return {name: EnvoyResource(name, body, tuple(origins[name])) for name, body in sorted(bodies.items())}


def tls_of(rule: DestinationRule) -> Iterator[ClientTls]:
    """All that a rule says of TLS to servers, at every level."""
    for policy in (rule.policy, *(subset.policy for subset in rule.subsets)):
        yield from _of_policy(policy)


def _of_policy(policy: TrafficPolicy) -> Iterator[ClientTls]:
    if policy.tls is not None:
        yield policy.tls
    for entry in policy.ports.values():
        yield from _of_policy(entry)
