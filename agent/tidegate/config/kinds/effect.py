"""What of a DestinationRule does nothing, beside the services that it is for. Warnings: others may arrive later."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tidegate.config import messages as say
from tidegate.config.links import Links, Topic
from tidegate.config.named_services import services_under
from tidegate.config.schema import Finding
from tidegate.model.hosts import in_cluster
from tidegate.model.kube import Service, ServicePort
from tidegate.model.secret import AUTHORITIES_OF, Secret
from tidegate.model.traffic import DestinationRule, Honoured, TrafficPolicy, Written


def looks_at(rule: DestinationRule) -> Iterable[Topic]:
    return [("service", rule.host), ("subsets", rule.host), *(("secret", name) for name in _secrets(rule))]


def check(rule: DestinationRule, links: Links) -> Iterator[Finding]:
    """Fields without effect, and rules that an older one of the same host overrules."""
    services = list(services_under(links, rule.host))
    if not services and in_cluster(rule.host) and links.any("service"):
        yield Finding(rule.origin.line, "spec.host", say.RULE_FOR_NOBODY(host=rule.host))
    for written in rule.written:
        if (said := _without_effect(rule, written, services)) is not None:
            yield Finding(written.line, written.path, said)
    yield from _overruled(rule, links)
    yield from _missing(rule, links)


@dataclass(frozen=True, slots=True)
class _Use:
    """One service port that a field is for."""

    service: Service
    port: ServicePort

    def idle(self, written: Written) -> str:
        """Why the field does nothing there; empty if it does something."""
        if self.port.protocol.is_http:
            return f"it works {written.honoured.value}" if written.honoured is Honoured.CONNECTIONS else ""
        if not written.subset and (self.service.headless or self.service.as_dialled) and _chooses(written):
            return "the client dialled the server itself, so there is none to choose"
        if self.service.external is not None and self.service.external.wide and _needs_envoy(written):
            return "to ranges of addresses the relay carries them, which cannot do it"
        if written.honoured in (Honoured.EVERYWHERE, Honoured.CONNECTIONS):
            return ""
        return f"it works {written.honoured.value}"


def _chooses(written: Written) -> bool:
    """Whether a field is about which endpoint is used. That the client's choice is to stand is none of it."""
    return ".outlierDetection" in written.path or (".loadBalancer" in written.path and not written.passes)


def _needs_envoy(written: Written) -> bool:
    return written.path.rpartition(".")[2] in (
        "tls",
        "proxyProtocol",
        "warmup",
        "warmupDurationSecs",
        "localityLbSetting",
    )


def _without_effect(rule: DestinationRule, written: Written, services: list[Service]) -> say.Said | None:
    if written.port and services and not any(s.port(written.port) for s in services):
        return say.PORT_OF_NOBODY(host=rule.host, port=written.port)
    # A port with an entry of its own has nothing of what is said for all ports.
    others = () if written.port or written.subset else rule.policy.ports
    ports = ((s, p) for s in services for p in s.tcp_ports if written.port in (0, p.port) and p.port not in others)
    uses = [_Use(s, p) for s, p in ports]
    idle = [(use, why) for use in uses if (why := use.idle(written))]
    if not idle:
        return None
    # What means HTTP by its nature, or by its place, may stand beside what is for TCP, as long as HTTP is there too.
    if len(idle) < len(uses) and (written.subset or written.honoured in (Honoured.HTTP, Honoured.CONNECTIONS)):
        return None
    use, why = idle[0]
    if use.port.protocol.is_http:
        return say.IDLE_ON_HTTP(port=use.port.port, service=use.service.id, why=why)
    return say.IDLE_ON_TCP(port=use.port.port, service=use.service.id, why=why)


def _overruled(rule: DestinationRule, links: Links) -> Iterator[Finding]:
    others = [r for r in links.of("subsets", rule.host) if isinstance(r, DestinationRule)]
    same = [r for r in others if r.namespace == rule.namespace and r.selector == rule.selector]
    older = [r for r in same if _place(r) < _place(rule)]
    for first in sorted(older, key=_place):
        if TrafficPolicy() not in (first.policy, rule.policy):
            yield Finding(rule.origin.line, "spec.trafficPolicy", say.OLDER_RULE(owner=first.origin))
            break
    for subset in rule.subsets:
        owner = next((r for r in sorted(older, key=_place) if r.subset(subset.name)), None)
        if owner is not None:
            yield Finding(subset.line, "spec.subsets", say.OLDER_RULE(owner=owner.origin))


def _missing(rule: DestinationRule, links: Links) -> Iterator[Finding]:
    """What Secrets do not hold that pods need; of authorities NAME-cacert comes before NAME, as Istio has it."""
    for wanted in rule.credentials:
        found = [
            secret
            for name in (wanted.name, wanted.name + AUTHORITIES_OF)
            for secret in links.of("secret", name)
            if isinstance(secret, Secret) and secret.namespace == rule.namespace
        ]
        lacks = []
        if wanted.certificate and not any(s.certificate for s in found if s.name == wanted.name):
            lacks.append("a certificate and its key")
        if wanted.authorities and not any(secret.ca for secret in found):
            lacks.append("who signs servers (ca.crt)")
        if lacks:
            said = say.NO_CLIENT_SECRET(name=f"{rule.namespace}/{wanted.name}", what=" and ".join(lacks))
            yield Finding(wanted.line, wanted.path, said)


def _secrets(rule: DestinationRule) -> set[str]:
    return {name for wanted in rule.credentials for name in (wanted.name, wanted.name + AUTHORITIES_OF)}


def _place(rule: DestinationRule) -> tuple[object, str, str]:
    return (rule.age, rule.namespace, rule.name)
