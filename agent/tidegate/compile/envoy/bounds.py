"""How much one pod, one connection and one stream may take of Envoy, which all pods of the node share.

What an endpoint does not read, and a client does not, waits in Envoy. HTTP/2 windows are what a peer may send unasked,
whatever Envoy's buffers allow: with its own (16 MiB a stream, 24 MiB a connection) sixty connections of one pod filled
3.3 GB. Bytes unless said otherwise.
"""

from __future__ import annotations

from tidegate.compile.envoy.protojson import Json, named

# RFC 9113 6.9.2: the protocol's own windows are 65 535. Four times that keeps 2 Gbit/s going over a millisecond.
STREAM_WINDOW = 256 * 1024
CONNECTION_WINDOW = 1024 * 1024

# What Envoy holds for one connection before it reads no more, and the largest body that it can send again or mirror.
CONNECTION_BUFFER = 1024 * 1024

STREAMS = 1024  # requests at a time on one connection; the client of more waits or opens another connection

# Connections of one pod at a time that one filter chain takes: HTTP, or one service port without it. The pod's next
# one is closed at once; all others' go on.
CONNECTIONS = 4096


def http2() -> Json:
    """envoy.config.core.v3.Http2ProtocolOptions, the bounds of them; the same to clients and to endpoints."""
    return {
        "max_concurrent_streams": STREAMS,
        "initial_stream_window_size": STREAM_WINDOW,
        "initial_connection_window_size": CONNECTION_WINDOW,
    }


def connection_limit() -> Json:
    """The network filter that counts a pod's connections: a chain is of one pod only."""
    return named(
        "envoy.filters.network.connection_limit",
        "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
        stat_prefix="pod",
        max_connections=str(CONNECTIONS),
    )
