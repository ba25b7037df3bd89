"""AuthorizationPolicy -> the form that connections are decided by. Pure.

What a rule asks of requests only (methods, paths, tokens) a connection cannot answer. As upstream has it for TCP: a
rule that allows then allows nobody, and one that denies keeps the rest of what it asks, so both refuse more than is
written and never less. Where nothing is left of one alternative, it is always fulfilled, and with it all of them: the
clause is left out, which every reader of the form takes for "always". An empty match in its place would be taken for
"never".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from tidegate.model.authorization import (
    NOTHING_SAID,
    Authorization,
    AuthorizationAction,
    Clause,
    Clauses,
    How,
    PolicyMatch,
    PolicyScope,
    Text,
)
from tidegate.model.names import DEFAULT_CLUSTER_DOMAIN
from tidegate.model.net import IPNetwork, within
from tidegate.model.policy import Alternative, AuthorizationPolicy, PolicyAction, PolicyRule

_ACTIONS: Final = {
    PolicyAction.ALLOW: AuthorizationAction.ALLOW,
    PolicyAction.DENY: AuthorizationAction.DENY,
    PolicyAction.AUDIT: AuthorizationAction.AUDIT,
}
_NEVER: Final = None  # no connection fulfils it
_PARTS = 5  # of TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT


def converted(policy: AuthorizationPolicy, root: str, trust_domains: Sequence[str]) -> Authorization | None:
    """The policy as connections meet it; None if it is for none of them, or nothing that is supported yet.

    root: the root namespace; trust_domains: of the mesh, the first is given out, the others are aliases.
    """
    action = _ACTIONS.get(policy.action)
    if action is None or policy.targeted:
        return None
    scope = PolicyScope.WORKLOAD_SELECTOR if policy.selector is not None else PolicyScope.NAMESPACE
    if policy.selector is None and policy.namespace == root:
        scope = PolicyScope.GLOBAL
    rules = (_rule(rule, action, trust_domains) for rule in policy.rules)
    return Authorization(
        namespace=policy.namespace,
        name=policy.name,
        scope=scope,
        action=action,
        rules=tuple(rule for rule in rules if rule is not _NEVER),
        dry_run=policy.dry_run,
        http=any(rule.http for rule in policy.rules),
        selector=policy.selector or {},
        origin=policy.origin,
    )


def _rule(rule: PolicyRule, action: AuthorizationAction, trust_domains: Sequence[str]) -> Clauses | None:
    if rule.http and action is not AuthorizationAction.DENY:
        return _NEVER
    clauses = []
    # Operations before sources: the workload API's order.
    for part in (rule.operations, rule.sources, *((one,) for one in rule.conditions)):
        clause = _clause(part, trust_domains)
        if clause is _NEVER:
            return _NEVER
        if clause:
            clauses.append(clause)
    return tuple(clauses)


def _clause(part: Sequence[Alternative], trust_domains: Sequence[str]) -> Clause | None:
    """Empty: always fulfilled, whether nothing was asked or nothing is left of it."""
    matches = [match for one in part for match in _matches(one, trust_domains)]
    if part and not matches:
        return _NEVER
    return () if NOTHING_SAID in matches else tuple(matches)


def _matches(one: Alternative, trust_domains: Sequence[str]) -> Iterator[PolicyMatch]:
    match = one.match
    wanted = match.source_ips
    if one.remote_ips:
        wanted = tuple(_both(wanted, one.remote_ips)) if wanted else one.remote_ips
        if not wanted:
            return  # no address is in both
    yield replace(
        match,
        source_ips=wanted,
        not_source_ips=tuple(dict.fromkeys((*match.not_source_ips, *one.not_remote_ips))),
        principals=tuple(_aliased(match.principals, trust_domains)),
        not_principals=tuple(_aliased(match.not_principals, trust_domains)),
    )


def _both(some: Iterable[IPNetwork], others: Iterable[IPNetwork]) -> Iterator[IPNetwork]:
    """The addresses that both have: prefixes lie in each other or apart."""
    others = tuple(others)
    found = (a if within(a, b) else b for a in some for b in others if within(a, b) or within(b, a))
    yield from dict.fromkeys(found)


def _aliased(principals: Iterable[Text], trust_domains: Sequence[str]) -> Iterator[Text]:
    """A principal of the mesh's trust domain is also that of its aliases (and cluster.local stands for the mesh's own,
    whatever it is called), because its workloads may still show certificates with another of its names."""
    seen: dict[Text, None] = {}
    for text in principals:
        domain, _, rest = text.value.partition("/")
        whole = text.how in (How.EXACT, How.PREFIX) and text.value.count("/") == _PARTS - 1
        if whole and domain in (*trust_domains, DEFAULT_CLUSTER_DOMAIN):
            seen.update(dict.fromkeys(Text(text.how, f"{one}/{rest}") for one in trust_domains))
        else:
            seen[text] = None
    yield from seen
