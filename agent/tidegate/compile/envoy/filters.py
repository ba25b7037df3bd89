"""The HTTP connection manager of a pod's listener, equal for every pod but for the pod's name.

Nothing in it depends on services: which of them exist is said by scopes, what they are by routes, and both change
without a listener. Envoy ends the connections of a listener that changes.
"""

from __future__ import annotations

from tidegate.compile.envoy import http_options, identities, private
from tidegate.compile.envoy.http_action import CORS_FILTER, FAULT_FILTER, ON_DEMAND_FILTER
from tidegate.compile.envoy.protojson import Json, ads, named, typed

_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_SERVICE = f"%METADATA(VIRTUAL_HOST:{private.METADATA}:{private.SERVICE})%"


DIALLED = "%DOWNSTREAM_LOCAL_ADDRESS%"
ANY_ADDRESS = "*:%DOWNSTREAM_LOCAL_PORT%"  # of connections that a range led here: their routes are those of the port


def connection_manager(client: str, cookie: int, dialled: str = DIALLED) -> Json:
    """The filter that serves all HTTP of one pod. client: its name in virtual hosts; cookie: in statistics;
    dialled: what scopes are found by."""
    return named(
        "envoy.filters.network.http_connection_manager",
        _HCM,
        stat_prefix="outbound",
        early_header_mutation_extensions=[_private_headers(client, dialled)],
        scoped_routes={
            "name": "dialled",
            "scope_key_builder": {"fragments": [{"header_value_extractor": {"name": private.DIALLED, "index": 0}}]},
            "rds_config_source": ads(),
            "scoped_rds": {"scoped_rds_config_source": ads()},
        },
        http_filters=[
            # First of all: it holds a request whose routes are not here yet, and asks for them.
            named(ON_DEMAND_FILTER, "envoy.extensions.filters.http.on_demand.v3.OnDemand"),
            named(FAULT_FILTER, "envoy.extensions.filters.http.fault.v3.HTTPFault"),
            named(CORS_FILTER, "envoy.extensions.filters.http.cors.v3.Cors"),
            named("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"),
        ],
        access_log=[_request_stats(cookie)],
        preserve_external_request_id=True,
        **http_options.downstream(),
    )


def pod_sockets(netns_path: str, secret: str = "") -> Json:
    """The network filter by which what a pod asks leaves from the pod itself: clusters open their sockets in the
    network namespace that a connection names, and keep them apart by it. netns_path: as in the listener. secret: name
    of the certificate by which the pod shows itself where a rule asks for that; "" = it has none."""
    state = {
        "object_key": "envoy.network.upstream_bind_override.network_namespace",
        "factory_key": "envoy.hashable_string",  # hashable: connections are shared only by those with the same value
        "format_string": {"text_format_source": {"inline_string": netns_path}},
        "shared_with_upstream": "ONCE",
    }
    return named(
        "envoy.filters.network.set_filter_state",
        "envoy.extensions.filters.network.set_filter_state.v3.Config",
        on_new_connection=[state, *([identities.shows(secret)] if secret else [])],
    )


def spared() -> Json:
    """typed_per_filter_config of a route configuration: filters that its requests do without.

    The listener has every filter, because a request that waits for its routes is one that Envoy knows nothing of yet.
    Once they are here nothing is left to wait for, and a route that has a fault or CORS settings brings its filter back
    by them: the more special setting wins. Three filters that do nothing cost a tenth of Envoy's CPU per request.
    """
    off = {"disabled": True}
    names = (ON_DEMAND_FILTER, FAULT_FILTER, CORS_FILTER)
    return {name: typed("envoy.config.route.v3.FilterConfig", **off) for name in names}


def _private_headers(client: str, dialled: str) -> Json:
    """Sets what requests are routed by, over whatever the client sent under these names, and says whose they are.

    Envoy's own way to write X-Forwarded-For (use_remote_address) makes it an edge proxy as well, which strips what
    applications tell their proxy: deadlines and retries (x-envoy-...), and the scheme that a proxy before it saw.
    """
    overwrite, append = "OVERWRITE_IF_EXISTS_OR_ADD", "APPEND_IF_EXISTS_OR_ADD"
    headers = (
        (private.DIALLED, dialled, overwrite),
        (private.VIRTUAL_HOST, f"{client}]%REQUEST_HEADER(:AUTHORITY)%", overwrite),
        ("x-forwarded-for", "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%", append),
    )
    return named(
        "envoy.http.early_header_mutation.header_mutation",
        "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        mutations=[
            {"append": {"header": {"key": key, "value": value}, "append_action": action}}
            for key, value, action in headers
        ],
    )


def _request_stats(cookie: int) -> Json:
    """Counts requests by who asked whom with what outcome: Envoy itself counts by listener or by cluster.

    Each value costs every request 2 to 3 % of Envoy's CPU, so bytes are those that clusters count anyway.
    """
    service = {"name": private.SERVICE, "value_format": _SERVICE}

    pod = {"name": private.POD, "value_format": str(cookie)}
    code = {"name": private.CODE, "value_format": "%RESPONSE_CODE%"}
    return named(
        "envoy.access_loggers.stats",
        "envoy.extensions.access_loggers.stats.v3.Config",
        stat_prefix=private.STATS,
        counters=[
            {"stat": {"name": private.REQUESTS, "tags": [pod, dict(service), code]}, "value_fixed": "1"},
        ],
        histograms=[
            {
                "stat": {"name": private.DURATION, "tags": [dict(service)]},
                "unit": "Milliseconds",
                "value_format": "%DURATION%",
            }
        ],
    )
