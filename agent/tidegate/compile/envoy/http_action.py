"""What a route does -> the action part of envoy.config.route.v3.Route."""

from __future__ import annotations

import re
from collections.abc import Callable

from tidegate.compile.envoy.protojson import Json, duration, named, share, string_matcher, typed
from tidegate.model.mesh_config import DEFAULT_RETRIES
from tidegate.model.routing import Cors, Fault, Headers, HttpRetry, HttpRoute, Redirect, RouteTarget
from tidegate.model.traffic import ConsistentHash

FAULT_FILTER = "envoy.filters.http.fault"
CORS_FILTER = "envoy.filters.http.cors"
ON_DEMAND_FILTER = "envoy.filters.http.on_demand"
_REDIRECT_CODES = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PORT = re.compile(r"^(?P<host>\[[^]]*\]|[^:]*):(?P<port>[0-9]{1,5})$")
_HOST_HEADERS = frozenset({"host", ":authority"})

ClusterOf = Callable[[RouteTarget], str]
HashOf = Callable[[RouteTarget], ConsistentHash | None]


def fill_action(
    out: Json, route: HttpRoute, port: int, cluster_of: ClusterOf, hash_of: HashOf, scheme: str = "http"
) -> None:
    """Add redirect, direct_response or route, and the settings of the filters, to a Route. port, scheme: as dialled."""
    if route.redirect is not None:
        out["redirect"] = _redirect(route.redirect, port, scheme)
    elif route.direct_response is not None:
        body = route.direct_response
        out["direct_response"] = {"status": body.status}
        if body.body_bytes:
            out["direct_response"]["body"] = {"inline_bytes": body.body_bytes}
        elif body.body:
            out["direct_response"]["body"] = {"inline_string": body.body}
    else:
        out["route"] = _forward(route, cluster_of, hash_of)
    headers = [route.headers]
    if len(route.targets) == 1:
        headers.append(route.targets[0].headers)
    out.update(_header_operations(headers))
    filters: Json = {}
    if route.fault is not None:
        filters[FAULT_FILTER] = _fault(route.fault)
    if route.cors is not None:
        filters[CORS_FILTER] = _cors(route.cors)
    if filters:
        out["typed_per_filter_config"] = filters


def forward_to(cluster: str, hashed: ConsistentHash | None, retries: HttpRetry = DEFAULT_RETRIES) -> Json:
    """The RouteAction of a service that no rule concerns."""
    out: Json = {"cluster": cluster, **_deadlines(0)}
    if retries.attempts:
        out["retry_policy"] = _retry_policy(retries, hashed is None)
    if hashed is not None:
        out["hash_policy"] = [_hash_policy(hashed)]
    return out


def keeps_path(route: HttpRoute) -> bool:
    """Whether the action can serve a request without a path, as CONNECT is."""
    return route.redirect is None and (route.rewrite is None or (route.rewrite.uri is None and not route.rewrite.regex))


def say_host(route: Json, host: str) -> Json:
    """A Route for requests that named no host, which upstream and in redirects become requests for this one."""
    if "route" in route:
        route["route"].setdefault("host_rewrite_literal", host)
    elif "redirect" in route:
        route["redirect"].setdefault("host_redirect", host)
    return route


def say_dialled(route: Json) -> Json:
    """The same of requests for nobody in particular: for the address that was dialled."""
    if "route" in route:
        route["route"]["host_rewrite"] = "%DOWNSTREAM_LOCAL_ADDRESS%"
    return route


def _forward(route: HttpRoute, cluster_of: ClusterOf, hash_of: HashOf) -> Json:
    out: Json = {}
    hosts = _rewritten_host(route.headers) or (route.rewrite.authority if route.rewrite else "")
    if len(route.targets) == 1:
        only = route.targets[0]
        out["cluster"] = cluster_of(only.target)
        hosts = hosts or _rewritten_host(only.headers)
    else:
        clusters = []
        for weighted in route.targets:
            if not weighted.weight:
                continue
            entry: Json = {"name": cluster_of(weighted.target), "weight": weighted.weight}
            entry.update(_header_operations([weighted.headers]))
            if host := _rewritten_host(weighted.headers):
                entry["host_rewrite_literal"] = host
            clusters.append(entry)
        out["weighted_clusters"] = {"clusters": clusters}
    out.update(_deadlines(route.timeout_ms))
    hashes = [h for h in (hash_of(w.target) for w in route.targets) if h is not None]
    retries = DEFAULT_RETRIES if route.retries is None else route.retries
    if retries.attempts:
        out["retry_policy"] = _retry_policy(retries, not (hashes and len(route.targets) == 1))
    if hashes:
        out["hash_policy"] = [_hash_policy(h) for h in dict.fromkeys(hashes)]
    if route.rewrite is not None:
        if route.rewrite.uri is not None:
            out["prefix_rewrite"] = route.rewrite.uri
        elif route.rewrite.regex is not None:
            pattern, substitution = route.rewrite.regex
            out["regex_rewrite"] = {"pattern": {"regex": pattern}, "substitution": substitution}
    if hosts:
        out["host_rewrite_literal"] = hosts
    if route.mirrors:
        out["request_mirror_policies"] = [
            {
                "cluster": cluster_of(m.target),
                "runtime_fraction": {"default_value": share(m.share)},
                "trace_sampled": False,
                "disable_shadow_host_suffix_append": True,
            }
            for m in route.mirrors
        ]
    return out


def _deadlines(timeout_ms: int) -> Json:
    """How long a request may take: as its route says (0 = as long as it likes) or, if that is less, its grpc-timeout.

    Envoy's own default is 15 s. It has two ways to honour grpc-timeout. The newer one answers DEADLINE_EXCEEDED, as the
    application's own clock would, but leaves a call without that header without any limit, so it is for routes that
    set none. The older one answers UNAVAILABLE.
    """
    if not timeout_ms:
        return {"timeout": "0s", "max_stream_duration": {"grpc_timeout_header_max": "0s"}}
    return {"timeout": duration(timeout_ms), "max_grpc_timeout": duration(timeout_ms)}


def _redirect(redirect: Redirect, port: int, scheme: str) -> Json:
    out: Json = {"response_code": _REDIRECT_CODES[redirect.code]}
    authority = redirect.authority
    if authority.count(":") > 1 and not authority.startswith("["):
        authority = f"[{authority}]"  # an address of IPv6, as it stands in a URL (RFC 3986, 3.2.2)
    found = _PORT.fullmatch(authority)
    host = found["host"] if found else authority
    if redirect.uri is not None:
        out["path_redirect"] = redirect.uri
    elif redirect.prefix is not None:
        out["prefix_rewrite"] = redirect.prefix
    if redirect.scheme:
        out["scheme_redirect"] = redirect.scheme
    number = (port if redirect.port_from_request else redirect.port) or int(found["port"] if found else 0)
    if host:
        out["host_redirect"] = host
    # The default port of a scheme is not written out. Without another host it has to be if the request's own host has a
    # port that Envoy would keep.
    default = number == _DEFAULT_PORTS[redirect.scheme or scheme]
    if number and not (default and (host or port in (_DEFAULT_PORTS[scheme], number))):
        out["port_redirect"] = number
    return out


def _retry_policy(retries: HttpRetry, previous_hosts: bool) -> Json:
    words = [w.strip() for w in (retries.retry_on or DEFAULT_RETRIES.retry_on).split(",") if w.strip()]
    codes = [int(w) for w in words if w.isdigit()]
    names = [w for w in words if not w.isdigit()]
    if codes and "retriable-status-codes" not in names:
        names.append("retriable-status-codes")
    out: Json = {"retry_on": ",".join(names), "num_retries": retries.attempts}
    if codes:
        out["retriable_status_codes"] = codes
    if retries.per_try_timeout_ms:
        out["per_try_timeout"] = duration(retries.per_try_timeout_ms)
    if retries.backoff_ms:
        out["retry_back_off"] = {"base_interval": duration(retries.backoff_ms)}
    if previous_hosts and retries.retry_ignore_previous_hosts:
        out["retry_host_predicate"] = [
            named(
                "envoy.retry_host_predicates.previous_hosts",
                "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
            )
        ]
    if retries.retry_remote_localities:
        out["retry_priority"] = named(
            "envoy.retry_priorities.previous_priorities",
            "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            update_frequency=2,
        )
    out["host_selection_retry_max_attempts"] = "5"
    return out


def _hash_policy(hashed: ConsistentHash) -> Json:
    if hashed.header:
        return {"header": {"header_name": hashed.header}}
    if hashed.cookie:
        cookie: Json = {"name": hashed.cookie}
        if hashed.cookie_ttl_ms is not None:
            cookie["ttl"] = duration(hashed.cookie_ttl_ms)
        if hashed.cookie_path:
            cookie["path"] = hashed.cookie_path
        if hashed.cookie_attributes:
            cookie["attributes"] = [{"name": name, "value": value} for name, value in hashed.cookie_attributes]
        return {"cookie": cookie}
    if hashed.query:
        return {"query_parameter": {"name": hashed.query}}
    return {"connection_properties": {"source_ip": True}}


def _fault(fault: Fault) -> Json:
    out = typed("envoy.extensions.filters.http.fault.v3.HTTPFault")
    if fault.delay_ms:
        out["delay"] = {"fixed_delay": duration(fault.delay_ms), "percentage": share(fault.delay_share or 0)}
    if fault.abort_status:
        out["abort"] = {"http_status": fault.abort_status, "percentage": share(fault.abort_share or 0)}
    elif fault.abort_grpc is not None:
        out["abort"] = {"grpc_status": fault.abort_grpc, "percentage": share(fault.abort_share or 0)}
    return out


def _cors(cors: Cors) -> Json:
    out = typed(
        "envoy.extensions.filters.http.cors.v3.CorsPolicy",
        allow_origin_string_match=[string_matcher(o) for o in cors.origins],
        forward_not_matching_preflights=cors.unmatched_preflights != "IGNORE",
        filter_enabled={"default_value": {"numerator": 100, "denominator": "HUNDRED"}},
    )
    for key, values in (
        ("allow_methods", cors.methods),
        ("allow_headers", cors.headers),
        ("expose_headers", cors.expose),
    ):
        if values:
            out[key] = ",".join(values)
    if cors.max_age_s is not None:
        out["max_age"] = str(cors.max_age_s)
    if cors.credentials is not None:
        out["allow_credentials"] = cors.credentials
    return out


def _rewritten_host(headers: Headers) -> str:
    for name, value in (*headers.request.set, *headers.request.add):
        if name.lower() in _HOST_HEADERS:
            return value
    return ""


def _header_operations(all_headers: list[Headers]) -> Json:
    """The four header lists of a Route or a weighted cluster; empty ones are left out."""
    out: Json = {}
    for side in ("request", "response"):
        added: list[Json] = []
        removed: list[str] = []
        for headers in all_headers:
            operations = headers.request if side == "request" else headers.response
            for append, values in (
                ("OVERWRITE_IF_EXISTS_OR_ADD", operations.set),
                ("APPEND_IF_EXISTS_OR_ADD", operations.add),
            ):
                for name, value in values:
                    if side == "response" or name.lower() not in _HOST_HEADERS:
                        added.append({"header": {"key": name, "value": value}, "append_action": append})
            removed.extend(operations.remove)
        if added:
            out[f"{side}_headers_to_add"] = added
        if removed:
            out[f"{side}_headers_to_remove"] = removed
    return out
