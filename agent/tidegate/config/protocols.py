"""What a service port speaks: appProtocol first, then the port name's prefix; nothing is guessed from bytes."""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.model.kube import Protocol

_APP_PROTOCOLS = {
    "kubernetes.io/h2c": Protocol.HTTP2,
    "kubernetes.io/ws": Protocol.HTTP,
    "kubernetes.io/wss": Protocol.TLS,
}
_NAMES = {
    "http": Protocol.HTTP,
    "http2": Protocol.HTTP2,
    "grpc": Protocol.GRPC,
    "grpc-web": Protocol.GRPC_WEB,
    "https": Protocol.TLS,
    "tls": Protocol.TLS,
}


def port_protocol(transport: str, app_protocol: str, name: str) -> Protocol:
    """Protocol of a port with `protocol`, `appProtocol` and `name`; a known appProtocol overrules the name."""
    if transport != "TCP":
        return Protocol.UDP
    declared = app_protocol.lower()
    if declared:
        return _APP_PROTOCOLS.get(declared) or _NAMES.get(declared, Protocol.TCP)
    word = name.lower()
    if word == "grpc-web" or word.startswith("grpc-web-"):
        return Protocol.GRPC_WEB
    return _NAMES.get(word.split("-", 1)[0], Protocol.TCP)


# What a ServiceEntry's port may say, in lower case, and whether its bytes name the host that is meant.
_ENTRY: Mapping[str, tuple[Protocol, bool]] = {
    "": (Protocol.TCP, False),  # nothing is guessed
    **{word: (protocol, True) for word, protocol in _NAMES.items()},
    **dict.fromkeys(("tcp", "mongo", "redis", "mysql"), (Protocol.TCP, False)),
    "udp": (Protocol.UDP, False),  # never captured
}


def declared_protocol(word: str, *, names_host: bool = False) -> Protocol | None:
    """Protocol of a port by the one word that says it; None if it is no such word, or, if names_host is asked, one of
    which the address alone tells hosts apart."""
    protocol, names = _ENTRY.get(word.lower(), (None, False))
    return protocol if names or not names_host else None
