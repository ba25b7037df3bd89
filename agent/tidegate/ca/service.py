"""IstioCertificateService over gRPC with TLS: calls in, answers out. What is decided is in issuing.py.

A server of gRPC either demands a certificate of its clients or does not look at any, so there are two addresses: one
for who shows a token, one for who shows a certificate of the mesh.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from tidegate.ca.issuing import Asking, Issuing, NotIssuedError, Refusal
from tidegate.errors import Fatal
from tidegate.identity.authority import Signed
from tidegate.identity.chains import Described, described, each_in
from tidegate.identity.csr_api import (
    AUTHORIZATION,
    BEARER,
    NAME,
    SERVICE,
    CertificateRequest,
    CertificateResponse,
    impersonated_in,
)

log = logging.getLogger(__name__)

MOST_REQUEST = 64 * 1024  # bytes
MOST_METADATA = 32 * 1024
MOST_CALLS = 256  # at once, of all callers
CODES = {
    Refusal.UNKNOWN: grpc.StatusCode.UNAUTHENTICATED,
    Refusal.NOT_PERMITTED: grpc.StatusCode.PERMISSION_DENIED,
    Refusal.MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    Refusal.TOO_OFTEN: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Refusal.LATER: grpc.StatusCode.UNAVAILABLE,
}


@dataclass(frozen=True, slots=True)
class ShownCertificate:
    """What the server shows, and who may sign its clients, in PEM."""

    chain: bytes
    key: bytes = field(repr=False)
    clients: bytes


class CertificateService:
    """Use from one event loop."""

    def __init__(self, issuing: Issuing, tls: Callable[[], ShownCertificate]) -> None:
        """tls: what is shown now; asked for each handshake, on a thread of gRPC."""
        self._issuing = issuing
        self._tls = tls
        self._server: grpc.aio.Server | None = None
        self.ports: list[int] = []

    async def start(self, address: tuple[str, int], with_certificates: tuple[str, int] | None) -> None:
        """Listen at address for who shows a token, and at the other for who shows a certificate. Raises Fatal."""
        options = [
            ("grpc.max_receive_message_length", MOST_REQUEST),
            ("grpc.max_metadata_size", MOST_METADATA),
            ("grpc.absolute_max_metadata_size", MOST_METADATA),
            ("grpc.max_concurrent_streams", 64),
            ("grpc.so_reuseport", 0),
            ("grpc.server_handshake_timeout_ms", 10_000),
            ("grpc.max_connection_idle_ms", 600_000),
        ]
        server = grpc.aio.server(options=options, maximum_concurrent_rpcs=MOST_CALLS)
        method: Any = grpc.unary_unary_rpc_method_handler(
            self._create,
            request_deserializer=CertificateRequest.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {NAME: method}),))
        self.ports = []
        for place, asks in ((address, False), (with_certificates, True)):
            if place is None:
                continue
            host, port = place
            text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            try:
                self.ports.append(server.add_secure_port(text, self._credentials(asks)))
            except RuntimeError as error:
                raise Fatal(f"address {text}", f"cannot listen: {error}") from None
        await server.start()
        self._server = server

    async def stop(self, grace: float) -> None:
        """Calls that are under way have so many seconds."""
        if self._server is not None:
            await self._server.stop(grace)

    def _credentials(self, asks: bool) -> Any:
        shown: list[ShownCertificate] = [self._tls()]

        def made(tls: ShownCertificate) -> Any:
            roots = tls.clients if asks else None
            return grpc.ssl_server_certificate_configuration([(tls.key, tls.chain)], root_certificates=roots)

        def fresh() -> Any:
            now = self._tls()
            if now == shown[0]:
                return None  # as before
            shown[0] = now
            return made(now)

        return grpc.dynamic_ssl_server_credentials(made(shown[0]), fresh, require_client_authentication=asks)

    async def _create(self, request: Any, context: Any) -> Any:
        try:
            signed = await self._issuing.answer(_asking(request, context))
        except NotIssuedError as error:
            await context.abort(CODES[error.refusal], str(error))
        return CertificateResponse(cert_chain=[one.decode("ascii") for one in _parts(signed)])


def _asking(request: Any, context: Any) -> Asking:
    shown = [value for key, value in context.invocation_metadata() or () if key == AUTHORIZATION]
    token = shown[0] if len(shown) == 1 and isinstance(shown[0], str) else ""
    token = token[len(BEARER) :].strip() if token[: len(BEARER)].lower() == BEARER.lower() else ""
    leaf = _shown(context)
    try:
        impersonated = impersonated_in(request)
    except ValueError as error:
        impersonated = str(error)  # which is nobody's name, and is told as such
    return Asking(
        peer=_host(context.peer()),
        csr=request.csr.encode(),
        seconds=float(request.validity_duration),
        impersonated=impersonated,
        token=token,
        certificate=leaf.names if leaf else (),
        serial=leaf.serial if leaf else "",
        issuer=leaf.issuer if leaf else "",
    )


def _shown(context: Any) -> Described | None:
    """The client's certificate, which TLS has found to be the mesh's; None if it shows none."""
    try:
        return next(iter(described(b"".join(context.auth_context().get("x509_pem_cert", ())))), None)
    except ValueError:
        return None


def _parts(signed: Signed) -> list[bytes]:
    """The leaf, each that is between, and all roots in one."""
    return [*each_in(signed.chain), signed.roots]


def _host(peer: str) -> str:
    """ipv4:127.0.0.1:50000 -> 127.0.0.1; ipv6:%5B::1%5D:50000 -> [::1]"""
    kind, _, rest = peer.partition(":")
    return rest.rpartition(":")[0].replace("%5B", "[").replace("%5D", "]") if kind in ("ipv4", "ipv6") else peer
