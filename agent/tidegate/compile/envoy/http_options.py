"""What Envoy allows and keeps of HTTP, on both sides: towards pods (downstream) and towards endpoints (upstream).

The rule is that the mesh is not stricter than no mesh, and shows what was sent. Each field of Envoy's API, set here or
left as it is, has a row in docs/envoy.md ("Every option of HTTP"), which tests/unit/compile/test_http_options.py holds
against the API and against what is made here.
"""

from __future__ import annotations

from collections.abc import Iterator

from tidegate.compile.envoy import bounds, private
from tidegate.compile.envoy.protojson import Json, duration, named, typed
from tidegate.model.kube import ServicePort
from tidegate.model.traffic import ClientTls, ConnectionPool, Outlier

UPSTREAM_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

# What the most generous of common servers and clients take: Go's server 1 MiB and 4 KiB of header, without a count.
MAX_HEADERS_KIB = 1028
MAX_HEADERS = 20_000
# Protocols to which a connection may be switched (SPDY/3.1: kubectl exec; tcp: docker attach), each with a first letter
# of its own. A request that asks for another is served as if it did not ask, which RFC 9110 7.8 leaves to the server.
UPGRADES = ("websocket", "SPDY/3.1", "tcp")


def downstream() -> Json:
    """The fields of a connection manager that say what a pod may send and what it gets."""
    return {
        "codec_type": "AUTO",
        "common_http_protocol_options": {
            "max_headers_count": MAX_HEADERS,
            # Who keeps a connection open says when it ends; without a mesh that is the server or the application.
            "idle_timeout": "0s",
        },
        "http_protocol_options": {
            **_http1(),
            "accept_http_10": True,
            "default_host_for_http_10": private.NO_HOST,
            "allow_custom_methods": True,
            "ignore_http_11_upgrade": [{"safe_regex": {"regex": regex}} for regex in ignored_upgrades()],
        },
        "http2_protocol_options": _http2(),
        "max_request_headers_kb": MAX_HEADERS_KIB,
        "upgrade_configs": [{"upgrade_type": name} for name in (*UPGRADES, "CONNECT")],
        # Applications keep idle streams (long polls, watches) open as long as they like.
        "stream_idle_timeout": "0s",
        # A connection closes when its last response was written: not before, however long the reader pauses, and not
        # later, which would keep from the client that the server broke off.
        "delayed_close_timeout": "0s",
        "proxy_100_continue": True,
        "server_header_transformation": "PASS_THROUGH",
        "normalize_path": True,
        # Every pod may tell its proxy deadlines and retries (x-envoy-upstream-rq-timeout-ms, ...), as in Istio; what a
        # pod hands on for others (a request with X-Forwarded-For) may not.
        "internal_address_config": {"cidr_ranges": [_every("0.0.0.0"), _every("::")]},
        # A pod that is a proxy itself (an ingress that ended TLS) may say whose certificate it saw.
        "forward_client_cert_details": "ALWAYS_FORWARD_ONLY",
    }


def upstream(
    port: ServicePort, pool: ConnectionPool, outlier: Outlier | None = None, tls: ClientTls | None = None
) -> Json:
    """HttpProtocolOptions of the cluster of a service port."""
    http2 = port.protocol.is_http2 if pool.h2_upgrade is None else pool.h2_upgrade or port.protocol.is_http2
    common: Json = {"max_headers_count": MAX_HEADERS, "max_response_headers_kb": MAX_HEADERS_KIB}
    if pool.max_requests_per_connection:
        common["max_requests_per_connection"] = pool.max_requests_per_connection
    if pool.idle_timeout_ms is not None:
        common["idle_timeout"] = duration(pool.idle_timeout_ms)
    if pool.max_connection_ms:
        common["max_connection_duration"] = duration(pool.max_connection_ms)
    out = typed(UPSTREAM_OPTIONS, common_http_protocol_options=common)
    http1 = {**_http1(), "allow_chunked_length": True}
    if pool.client_protocol or (pool.h2_upgrade is None and not http2):
        # A client that speaks HTTP/2 here has a server that does.
        out["use_downstream_protocol_config"] = {"http_protocol_options": http1, "http2_protocol_options": _pool2(pool)}
    elif http2:
        out["explicit_http_config"] = {"http2_protocol_options": _pool2(pool)}
    else:
        out["explicit_http_config"] = {"http_protocol_options": http1}
    if tls is not None and tls.originates:
        named_by_request = {"auto_sni": not tls.sni, "auto_san_validation": tls.verify and not (tls.sni or tls.names)}
        out["upstream_http_protocol_options"] = {key: True for key, wanted in named_by_request.items() if wanted}
    if outlier is not None and outlier.codes:
        out["outlier_detection"] = {"error_matcher": _one_of_codes(outlier.codes)}
    return out


def _pool2(pool: ConnectionPool) -> Json:
    """Http2ProtocolOptions towards endpoints."""
    out = _http2()
    if pool.max_streams:
        out["max_concurrent_streams"] = pool.max_streams
    if pool.ping_interval_ms:
        out["connection_keepalive"] = {
            "interval": duration(pool.ping_interval_ms),
            "timeout": duration(pool.ping_timeout_ms),
        }
    return out


def _one_of_codes(codes: tuple[int, ...]) -> Json:
    """envoy.config.common.matcher.v3.MatchPredicate for responses with one of these statuses."""
    rules = [
        {"http_response_headers_match": {"headers": [{"name": ":status", "string_match": {"exact": str(code)}}]}}
        for code in codes
    ]
    return rules[0] if len(rules) == 1 else {"or_match": {"rules": rules}}


def _every(address: str) -> Json:
    return {"address_prefix": address, "prefix_len": 0}


def _http1() -> Json:
    """Of both sides: names of headers as they were written, the server's reason phrase, trailers."""
    return {
        "header_key_format": {
            "stateful_formatter": named(
                "preserve_case",
                "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig",
                forward_reason_phrase=True,
            )
        },
        "enable_trailers": True,
    }


def _http2() -> Json:
    """Of both sides: a message that is no HTTP ends its stream, not everybody's."""
    return {**bounds.http2(), "allow_connect": True, "override_stream_error_on_invalid_http_message": True}


def ignored_upgrades() -> Iterator[str]:
    """Regular expressions one of which fits whatever is none of UPGRADES, in any case.

    RE2 has no negation of a word, and Envoy takes no program of more than 100 instructions: hence one for each word,
    and characters in ranges of bytes.
    """
    yield _other_than("".join(word[0] for word in UPGRADES)) + r"\C*"
    for word in UPGRADES:
        yield _one_of(word[0]) + _unlike(word[1:])


def _unlike(rest: str) -> str:
    """Fits everything but this text."""
    if not rest:
        return r"\C+"
    return rf"(?:{_other_than(rest[0])}\C*|{_one_of(rest[0])}{_unlike(rest[1:])})?"


def _one_of(letter: str) -> str:
    return f"[{''.join(sorted({_escaped(letter.lower()), _escaped(letter.upper())}))}]"


def _other_than(letters: str) -> str:
    """A visible character of ASCII that is none of these letters, in ranges, which keep the program small."""
    taken = sorted({ord(case) for letter in letters for case in (letter.lower(), letter.upper())})
    bounds = zip((0x20, *taken), (*taken, 0x7F), strict=True)
    return f"[{''.join(f'{_escaped(chr(a + 1))}-{_escaped(chr(b - 1))}' for a, b in bounds if b - a > 1)}]"


def _escaped(character: str) -> str:
    return f"\\x{ord(character):02x}"
