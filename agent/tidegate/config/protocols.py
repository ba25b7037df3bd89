"""What a service port speaks: appProtocol first, then the port name's prefix; nothing is guessed from bytes."""

from __future__ import annotations

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
