"""What explain found out. as_json() is what `tidegate explain -o json` prints: its keys are stable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tidegate.model.names import WorkloadId
from tidegate.model.origin import Origin
from tidegate.model.routing import Fault, HttpRoute, Mirror, Redirect, Rewrite


@dataclass(frozen=True, slots=True)
class Rule:
    """The route that was chosen, or with index None the VirtualService none of whose routes fits."""

    origin: Origin  # with the line of the route
    index: int | None = None
    match: int | None = None  # which of its match blocks; None = the route has none
    route: str = ""
    routes: str = "http"  # which list of the VirtualService it is in: http, tcp or tls

    def as_json(self) -> dict[str, Any]:
        out = {**as_origin(self.origin), "index": self.index}
        if self.index is None:
            return out
        return {**out, "match": self.match, "route": self.route, "routes": self.routes}


@dataclass(frozen=True, slots=True)
class RouteDestination:
    """One weighted destination. percent: of the requests, or of the connections."""

    host: str
    port: int
    subset: str
    percent: float
    cluster: str

    def as_json(self) -> dict[str, Any]:
        return {
            "host": self.host,
            "port": self.port,
            "subset": self.subset,
            "percent": round(self.percent, 4),
            "cluster": self.cluster,
        }


@dataclass(frozen=True, slots=True)
class Peer:
    """An address that may answer. pod: "" = no pod that is known."""

    address: str
    port: int
    pod: str = ""
    subset: str = ""

    def as_json(self) -> dict[str, Any]:
        return {"address": self.address, "port": self.port, "pod": self.pod, "subset": self.subset}


@dataclass(frozen=True, slots=True)
class Hop:
    """One step on the way to the answer."""

    step: str
    result: str

    def as_json(self) -> dict[str, Any]:
        return {"step": self.step, "result": self.result}


class PolicyTold(Protocol):
    """What policies say of the connection; authorized.py."""

    def as_json(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Explanation:
    """tier: none, direct, fastpath, envoy or dns. verdict: pass (untouched), allow, deny, or unavailable (no rule is
    against it, but nothing is there that could answer)."""

    source: WorkloadId
    host: str
    port: int
    address: str = ""
    service: str = ""  # FQDN
    tier: str = "none"
    verdict: str = "pass"
    reason: str = ""
    counted_as: str = ""  # reason of tidegate_verdicts_total; "" = no connect() would be made
    rule: Rule | None = None
    route: HttpRoute | None = None  # that rule's, for what it does besides choosing a destination
    destinations: tuple[RouteDestination, ...] = ()
    endpoints: tuple[Peer, ...] = ()
    policies: tuple[Origin, ...] = ()
    tls: str = "none"  # what is begun behind the application: none, simple, mutual
    authorization: tuple[PolicyTold, ...] = ()
    hops: tuple[Hop, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """Stable keys; `destination` is the likeliest of `destinations`."""
        likeliest = max(self.destinations, key=lambda d: d.percent, default=None)
        return {
            "source": str(self.source),
            "host": self.host,
            "port": self.port,
            "address": self.address,
            "service": self.service,
            "tier": self.tier,
            "verdict": self.verdict,
            "reason": self.reason,
            "counted_as": self.counted_as,
            "rule": self.rule.as_json() if self.rule else None,
            "action": action(self.route) if self.route else {},
            "destination": likeliest.as_json() if likeliest else None,
            "destinations": [d.as_json() for d in self.destinations],
            "endpoints": [e.as_json() for e in self.endpoints],
            "policies": [as_origin(o) for o in self.policies],
            "tls": self.tls,
            "authorization": [told.as_json() for told in self.authorization],
            "hops": [hop.as_json() for hop in self.hops],
        }


def as_origin(origin: Origin) -> dict[str, Any]:
    """Which object, and where it was written."""
    return {
        "kind": origin.kind,
        "namespace": origin.namespace,
        "name": origin.name,
        "file": origin.file,
        "line": origin.line,
    }


def action(route: HttpRoute) -> dict[str, Any]:
    """What the route does besides choosing a destination, in the API's words."""
    out: dict[str, Any] = {}
    if route.timeout_ms:
        out["timeout"] = f"{route.timeout_ms / 1000:g}s"
    if route.retries is not None:
        out["retries"] = route.retries.attempts
    if route.fault is not None:
        out.update(_fault(route.fault))
    if route.redirect is not None:
        out["redirect"] = _redirect(route.redirect)
    if route.direct_response is not None:
        out["directResponse"] = route.direct_response.status
    if route.rewrite is not None:
        out["rewrite"] = _rewrite(route.rewrite)
    if route.mirrors:
        out["mirror"] = [_mirror(m) for m in route.mirrors]
    if route.cors is not None:
        out["cors"] = True
    return out


def _fault(fault: Fault) -> Mapping[str, str]:
    out = {}
    if fault.delay_ms:
        out["delay"] = f"{fault.delay_ms / 1000:g}s for {(fault.delay_share or 0) / 10_000:g} %"
    if fault.abort_status or fault.abort_grpc is not None:
        status = fault.abort_status or f"gRPC {fault.abort_grpc}"
        out["abort"] = f"{status} for {(fault.abort_share or 0) / 10_000:g} %"
    return out


def _redirect(redirect: Redirect) -> Mapping[str, Any]:
    said = {
        "code": redirect.code,
        "authority": redirect.authority,
        "uri": redirect.uri,
        "prefixRewrite": redirect.prefix,
        "scheme": redirect.scheme,
        "port": redirect.port,
    }
    return {key: value for key, value in said.items() if value}


def _rewrite(rewrite: Rewrite) -> Mapping[str, Any]:
    said = {"uri": rewrite.uri, "authority": rewrite.authority, "regex": rewrite.regex and list(rewrite.regex)}
    return {key: value for key, value in said.items() if value}


def _mirror(mirror: Mirror) -> str:
    subset = f" subset {mirror.target.subset}" if mirror.target.subset else ""
    return f"{mirror.target.host}{subset} {mirror.share / 10_000:g} %"
