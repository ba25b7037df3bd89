"""What Envoy's filters were called before, and the message by which each is configured."""

from __future__ import annotations

from collections.abc import Mapping

HTTP_MANAGER = "envoy.filters.network.http_connection_manager"

_HTTP = (
    *("buffer", "compressor", "cors", "csrf", "dynamic_forward_proxy", "ext_authz", "fault", "grpc_http1_bridge"),
    *("grpc_http1_reverse_bridge", "grpc_json_transcoder", "grpc_web", "health_check", "ip_tagging", "lua", "router"),
)
_NETWORK = ("echo", "ext_authz", "http_connection_manager", "mongo_proxy", "ratelimit", "redis_proxy", "tcp_proxy")
_LISTENER = ("http_inspector", "original_dst", "original_src", "proxy_protocol", "tls_inspector")

# As Istio 1.0 knew them. ext_authz is one of HTTP and one of connections, so each has a table of its own.
_OLD_HTTP: Mapping[str, str] = {
    **{f"envoy.{name}": f"envoy.filters.http.{name}" for name in _HTTP},
    "envoy.rate_limit": "envoy.filters.http.ratelimit",
}
_OLD_NETWORK: Mapping[str, str] = {f"envoy.{name}": f"envoy.filters.network.{name}" for name in _NETWORK}
_OLD_LISTENER: Mapping[str, str] = {f"envoy.listener.{name}": f"envoy.filters.listener.{name}" for name in _LISTENER}

_HTTP_TYPES: Mapping[str, str] = {
    "adaptive_concurrency": "AdaptiveConcurrency",
    "buffer": "Buffer",
    "compressor": "Compressor",
    "cors": "Cors",
    "csrf": "CsrfPolicy",
    "ext_authz": "ExtAuthz",
    "fault": "HTTPFault",
    "grpc_http1_bridge": "Config",
    "grpc_web": "GrpcWeb",
    "health_check": "HealthCheck",
    "ip_tagging": "IPTagging",
    "jwt_authn": "JwtAuthentication",
    "local_ratelimit": "LocalRateLimit",
    "lua": "Lua",
    "ratelimit": "RateLimit",
    "rbac": "RBAC",
    "router": "Router",
}
_NETWORK_TYPES: Mapping[str, str] = {
    "connection_limit": "ConnectionLimit",
    "echo": "Echo",
    "ext_authz": "ExtAuthz",
    "http_connection_manager": "HttpConnectionManager",
    "local_ratelimit": "LocalRateLimit",
    "mongo_proxy": "MongoProxy",
    "rbac": "RBAC",
    "redis_proxy": "RedisProxy",
    "tcp_proxy": "TcpProxy",
}
_LISTENER_TYPES: Mapping[str, str] = {
    "http_inspector": "HttpInspector",
    "original_dst": "OriginalDst",
    "proxy_protocol": "ProxyProtocol",
    "tls_inspector": "TlsInspector",
}


def of_http(name: str) -> str:
    """Today's name of an HTTP filter."""
    return _OLD_HTTP.get(name, name)


def of_network(name: str) -> str:
    """Today's name of a filter of connections."""
    return _OLD_NETWORK.get(name, name)


def of_listener(name: str) -> str:
    """Today's name of a listener filter."""
    return _OLD_LISTENER.get(name, name)


def message_of(name: str) -> str:
    """Full name of the message that configures a filter; empty if it is not known here and has to be written."""
    for kind, types in (("http", _HTTP_TYPES), ("network", _NETWORK_TYPES)):
        short = name.removeprefix(f"envoy.filters.{kind}.")
        if short != name and short in types:
            return f"envoy.extensions.filters.{kind}.{short}.v3.{types[short]}"
    short = name.removeprefix("envoy.filters.listener.")
    found = _LISTENER_TYPES.get(short, "") if short != name else ""
    return f"envoy.extensions.filters.listener.{short}.v3.{found}" if found else ""
