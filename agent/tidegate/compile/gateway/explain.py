"""explain at a gateway: what becomes of a request, port by port, server by server and rule by rule, and why.

It works on the model, as the oracle of requests does, and not on Envoy's resources.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from tidegate.compile.envoy.clusters import subset_endpoints
from tidegate.compile.envoy.named import named_in_subset
from tidegate.compile.explain.requests import choose_host, refuses
from tidegate.compile.facts import Facts
from tidegate.compile.gateway.compiler import GatewayPlan, visible_rules
from tidegate.compile.gateway.l4 import Forwarding, named_forwards, plain_forward
from tidegate.compile.gateway.ports import GatewayPort, Served
from tidegate.compile.gateway.routes import GatewayRoutes, candidates_at, hosts_of, plain_name, secure_name, source_at
from tidegate.compile.outbound.routes import route_name
from tidegate.compile.registry import Registry
from tidegate.compile.rules import Candidate, Rules
from tidegate.errors import Rejected
from tidegate.model.gateway import GatewayWorkload, ServerProtocol
from tidegate.model.http import HttpRequest
from tidegate.model.net import host_port
from tidegate.model.routing import VirtualService, WeightedTarget

_PORTS = {"http": 80, "https": 443, "tls": 443, "tcp": 0}  # by the scheme of a URL

Hops = list[dict[str, str]]


def explain(
    facts: Facts, plan: GatewayPlan, workload: GatewayWorkload, url: str, request: HttpRequest | None = None
) -> dict[str, Any]:
    """What the workload does with a request to this URL (http, https, tls or tcp). Raises Rejected if it is none.

    `verdict` is allow, deny (nobody is served so) or unavailable; `hops` say how it came to that.
    """
    return _Trace(facts, plan, workload).explain(url, request or HttpRequest())


class _Trace:
    def __init__(self, facts: Facts, plan: GatewayPlan, workload: GatewayWorkload) -> None:
        self._facts = facts
        self._plan = plan
        self._workload = workload
        self._registry, self._rules = Registry(facts.read), Rules(facts.read)
        self._visible = visible_rules(facts, workload)
        self._routes = GatewayRoutes(self._registry, self._rules, self._visible, workload)
        self._hops: Hops = []

    def explain(self, url: str, request: HttpRequest) -> dict[str, Any]:
        parts = urlsplit(url)
        try:
            port_number = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            port_number = 0
        if not parts.hostname or not port_number or parts.scheme not in _PORTS:
            raise Rejected(
                f"URL {url!r}",
                "is not SCHEME://HOST[:PORT]/PATH of http, https, tls or tcp",
                "write http://shop.example/",
            )
        request = replace(
            request,
            path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            authority=request.authority or parts.netloc.rpartition("@")[2],
            scheme=parts.scheme,
        )
        return {"url": url, **self._of_port(parts.scheme, parts.hostname, port_number, request), "hops": self._hops}

    def _say(self, step: str, result: str) -> None:
        self._hops.append({"step": step, "result": result})

    def _of_port(self, scheme: str, host: str, number: int, request: HttpRequest) -> dict[str, Any]:
        port = next((p for p in self._plan.ports if p.number == number), None)
        if port is None:
            known = ", ".join(sorted({str(p.number) for p in self._plan.ports}, key=int)) or "none"
            return self._refused(
                "port", f"no server of any Gateway for this workload is at {number}; there are: {known}"
            )
        whose = ", ".join(dict.fromkeys(str(s.gateway.origin) for s in port.servers))
        self._say("port", f"{number} (the workload listens at {port.listen}): {whose}")
        if port.secure:
            return self._of_secure_port(scheme, host, port, request)
        if not port.plain_http:
            served = port.servers[0]
            return self._of_connection(plain_forward(self._visible, served, self._workload), served, "tcp")
        if scheme != "http":
            return self._refused("protocol", f"the port is plain HTTP: {scheme} is no request of HTTP")
        return self._of_servers(plain_name(port), port.number, port.servers, request)

    def _of_secure_port(self, scheme: str, host: str, port: GatewayPort, request: HttpRequest) -> dict[str, Any]:
        if scheme in ("http", "tcp"):
            return self._refused("protocol", "the port is TLS: what does not begin with a handshake is closed")
        by_name = {h.host: served for served in reversed(port.servers) for h in served.server.hosts}
        chosen = choose_host(by_name, host)
        if chosen is None:
            return self._refused("server", f"no server of the port is for the name {host} (SNI)")
        served = by_name[chosen]
        server = served.server
        assert server.tls is not None
        self._say("server", f"{served.gateway.ref} line {server.line}: {chosen}, {server.tls.mode.name}")
        left = next((item.why for item in self._plan.left_out if item.served == served), "")
        if left:
            return self._refused("server", f"left out: {left}")
        if not server.ends_tls:
            return self._of_connection(self._named(served, host), served, "tls")
        if server.protocol is not ServerProtocol.HTTPS:
            return self._of_connection(plain_forward(self._visible, served, self._workload), served, "tcp")
        return self._of_servers(secure_name(served), server.port, [served], request)

    def _named(self, served: Served, host: str) -> Forwarding | None:
        found = list(named_forwards(self._visible, served, self._workload))
        by_name = {name: forward for forward in reversed(found) for name in forward.names}
        chosen = choose_host(by_name, host)
        return by_name[chosen] if chosen is not None else None

    def _of_connection(self, forward: Forwarding | None, served: Served, kind: str) -> dict[str, Any]:
        if forward is None:
            return self._refused(kind, f"closed: no VirtualService has a {kind} route for it")
        self._say(kind, f"{forward.vs.origin} line {forward.route.line}: forwarded as it is")
        destinations = self._destinations(forward.route.targets, served.server.port)
        rule = {**_place(forward.vs), "line": forward.route.line, "route": kind}
        return {**_availability(destinations, "closed"), "rule": rule, "destinations": destinations}

    def _of_servers(self, name: str, port: int, servers: Sequence[Served], request: HttpRequest) -> dict[str, Any]:
        hosts = hosts_of(self._visible, servers)
        chosen = choose_host(hosts, request.authority)
        if chosen is None:
            known = ", ".join(sorted(hosts)) or "none"
            return self._refused("host", f"404: no VirtualService here has {request.authority}; there are: {known}")
        entry = hosts[chosen]
        self._say("host", f"{chosen} of {name}")
        if entry.redirect and request.scheme == "http":
            self._say("httpsRedirect", f"301 to https://{request.authority}{request.path}")
            return {"verdict": "allow", "reason": "redirected to https", "routes": name}
        found = [(vs, c) for vs, gateways in entry.ordered() for c in self._reachable(vs, gateways, port)]
        for vs, candidate in sorted(found, key=lambda item: item[1].match is None or item[1].match.catches_all):
            refusal = refuses(candidate.match, request)
            self._say(f"{vs.origin} {route_name(vs, candidate)}", refusal or "fits")
            if not refusal:
                return {**self._of_route(vs, candidate, port), "routes": name}
        return self._refused("route", "404: no route fits")

    def _reachable(self, vs: VirtualService, gateways: set[str], port: int) -> list[Candidate]:
        return list(candidates_at(vs, gateways, self._workload, port))

    def _of_route(self, vs: VirtualService, candidate: Candidate, port: int) -> dict[str, Any]:
        route = candidate.route
        rule = {**_place(vs), "line": route.line, "route": route_name(vs, candidate)}
        if route.redirect is not None or route.direct_response is not None:
            return {"verdict": "allow", "reason": "answered by the gateway", "rule": rule, "destinations": []}
        destinations = self._destinations(route.targets, port)
        return {
            **_availability(destinations, "503"),
            "rule": rule,
            "timeout_ms": route.timeout_ms,
            "destinations": destinations,
        }

    def _destinations(self, targets: Sequence[WeightedTarget], port: int) -> list[dict[str, Any]]:
        total = sum(w.weight for w in targets)
        found = []
        for weighted in targets:
            share = 100.0 if len(targets) == 1 else 100.0 * weighted.weight / total
            if share:
                key = self._routes.cluster_key(weighted.target, port)
                lacking = next((one.why for one in self._plan.lacking if str(key) in one.clusters), "")
                found.append(
                    {
                        "host": key.fqdn,
                        "port": key.port,
                        "subset": key.subset,
                        "percent": round(share, 4),
                        "cluster": str(key),
                        "endpoints": self._endpoints(key.fqdn, key.port, key.subset),
                        **({"lacking": lacking} if lacking else {}),
                    }
                )
        return found

    def _endpoints(self, fqdn: str, number: int, subset: str) -> list[str] | None:
        """Addresses that may answer, or names that Envoy resolves; None if that is the name of an alias."""
        service = self._registry.services.get(fqdn)
        if service is not None and service.external_name:
            return None
        port = service.port(number) if service else None
        if service is None or port is None:
            return []
        policy = self._rules.policy_of(service.id, source_at(self._workload))
        defined = policy.subset(subset)
        named = named_in_subset(self._registry, service, port, defined) if defined or not subset else None
        if named is not None:
            return [n.label if n.workload.path else host_port(n.label, n.port) for n in named]
        found = subset_endpoints(self._registry, service, port, policy, subset) or ()
        return [host_port(str(e.address), e.port) + (f" {e.name}" if e.name else "") for e in found]

    def _refused(self, step: str, why: str) -> dict[str, Any]:
        self._say(step, why)
        return {"verdict": "deny", "reason": why}


def _availability(destinations: Sequence[dict[str, Any]], otherwise: str) -> dict[str, Any]:
    usable = [d for d in destinations if "lacking" not in d]
    if destinations and not usable:
        return {"verdict": "unavailable", "reason": f"{otherwise}: {destinations[0]['lacking']}"}
    available = any(d["endpoints"] is None or d["endpoints"] for d in usable)
    reason = "" if available else f"{otherwise}: no endpoint is ready"
    return {"verdict": "allow" if available else "unavailable", "reason": reason}


def _place(vs: VirtualService) -> dict[str, str | int]:
    return {"kind": vs.origin.kind, "namespace": vs.namespace, "name": vs.name, "file": vs.origin.file}
