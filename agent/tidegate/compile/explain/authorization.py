"""The oracle of who may connect: a connection and the policies of a workload -> what is decided, and why. Pure.

agent/relay/policy.c decides the same; tests/vectors/authorization and a differential fuzz hold them together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tidegate.model.authorization import (
    NOTHING_SAID,
    Authorization,
    AuthorizationAction,
    Clause,
    PolicyDecision,
    PolicyMatch,
    PolicySubject,
    PolicyVerdict,
)
from tidegate.model.net import IPAddress, IPNetwork


@dataclass(frozen=True, slots=True)
class PolicyAsked:
    """A policy that was asked. why: which rule fits, or of each why it does not."""

    policy: Authorization
    matches: bool
    why: str


def decide(policies: Sequence[Authorization], subject: PolicySubject) -> PolicyDecision:
    """What the policies of a workload decide, in their order. Those on trial count for `would_*` only."""
    verdict, by = _verdict([one for one in policies if not one.dry_run], subject)
    would, would_by = _verdict([one for one in policies if one.dry_run], subject)
    audits = (one for one in policies if one.action is AuthorizationAction.AUDIT and not one.dry_run)
    audited = next((one.key for one in audits if matches(one, subject)), "")
    return PolicyDecision(verdict, by, would, would_by, audited)


def _verdict(policies: Sequence[Authorization], subject: PolicySubject) -> tuple[PolicyVerdict, str]:
    for one in policies:
        if one.action is AuthorizationAction.DENY and matches(one, subject):
            return PolicyVerdict.DENY_BY_POLICY, one.key
    allowing = [one for one in policies if one.action is AuthorizationAction.ALLOW]
    if not allowing:
        return PolicyVerdict.ALLOW_NO_POLICY, ""
    for one in allowing:
        if matches(one, subject):
            return PolicyVerdict.ALLOW_BY_POLICY, one.key
    return PolicyVerdict.DENY_NOT_ALLOWED, ""


def matches(policy: Authorization, subject: PolicySubject) -> bool:
    """Whether any of its rules fits."""
    return any(all(_clause_fits(clause, subject) for clause in rule) for rule in policy.rules)


def ask(policies: Iterable[Authorization], subject: PolicySubject) -> Iterator[PolicyAsked]:
    """Each policy, with what it says of the connection."""
    for one in policies:
        refusals = []
        for number, rule in enumerate(one.rules):
            refusal = next((why for clause in rule if (why := _refusal(clause, subject))), "")
            if not refusal:
                yield PolicyAsked(one, True, f"rule {number} fits")
                break
            refusals.append(f"rule {number}: {refusal}")
        else:
            yield PolicyAsked(one, False, "; ".join(refusals) or "it has no rule that a connection can fulfil")


def _clause_fits(clause: Clause, subject: PolicySubject) -> bool:
    return not clause or any(not _misses(match, subject) for match in clause)


def _refusal(clause: Clause, subject: PolicySubject) -> str:
    """Why no match of a clause fits; "" if one does."""
    if _clause_fits(clause, subject):
        return ""
    return ", ".join(dict.fromkeys(_misses(match, subject) for match in clause))


def _misses(match: PolicyMatch, subject: PolicySubject) -> str:
    """What of a match the connection does not fulfil first; "" if it fulfils all."""
    if match == NOTHING_SAID:
        return "it asks for nothing"
    who, identity = subject.principal, subject.identity
    namespace = identity.namespace if identity else ""
    account = str(identity and f"{identity.namespace}/{identity.account}")
    checks: tuple[tuple[str, Sequence[object], Sequence[object], Sequence[bool], Sequence[bool]], ...] = (
        (
            f"principal {who}" if who else "no identity",
            match.principals,
            match.not_principals,
            [bool(who) and one.fits(who) for one in match.principals],
            [bool(who) and one.fits(who) for one in match.not_principals],
        ),
        (
            f"namespace {namespace}" if namespace else "no namespace",
            match.namespaces,
            match.not_namespaces,
            [one.fits(namespace) for one in match.namespaces],
            [one.fits(namespace) for one in match.not_namespaces],
        ),
        (
            f"service account {account}" if identity else "no service account",
            match.service_accounts,
            match.not_service_accounts,
            [one == identity for one in match.service_accounts],
            [one == identity for one in match.not_service_accounts],
        ),
        (
            f"source {subject.source}",
            match.source_ips,
            match.not_source_ips,
            [_has(one, subject.source) for one in match.source_ips],
            [_has(one, subject.source) for one in match.not_source_ips],
        ),
        (
            f"destination {subject.destination}",
            match.destination_ips,
            match.not_destination_ips,
            [_has(one, subject.destination) for one in match.destination_ips],
            [_has(one, subject.destination) for one in match.not_destination_ips],
        ),
        (
            f"port {subject.port}",
            match.destination_ports,
            match.not_destination_ports,
            [one == subject.port for one in match.destination_ports],
            [one == subject.port for one in match.not_destination_ports],
        ),
    )
    for what, wanted, unwanted, hits, misses in checks:
        if wanted and not any(hits):
            return f"{what} is not in {_listed(wanted)}"
        if any(misses):
            return f"{what} is in {_listed(unwanted)}"
    return ""


def _has(network: IPNetwork, address: IPAddress) -> bool:
    return network.version == address.version and address in network


def _listed(wanted: Sequence[object]) -> str:
    return f"[{' '.join(_written(one) for one in wanted)}]"


def _written(one: object) -> str:
    spelled = getattr(one, "account", None)
    return f"{getattr(one, 'namespace', '')}/{spelled}" if spelled is not None else str(one)
