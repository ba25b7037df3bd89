"""An authority elsewhere, asked by IstioCertificateService/CreateCertificate: istiod, istio-csr, `tidegate ca`.

Token and root are read anew for each call, because both are replaced under a running process. Whoever was believed once
also says which roots are coming, so that the authority's own certificate may change with the mesh's root.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from tidegate.errors import Rejected, TidegateError, Transient
from tidegate.identity.authority import Signed
from tidegate.identity.chains import certificates_in, merged
from tidegate.identity.csr_api import (
    AUTHORIZATION,
    BEARER,
    CLUSTER,
    METHOD,
    MOST_MESSAGE,
    CertificateResponse,
    certificate_request,
)
from tidegate.runtime.worker import Worker

ANSWER_SECONDS = 10.0  # from the attempt to connect to the answer
MOST_FILE = 64 * 1024  # bytes of a token or of roots
_LATER = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class RemoteAuthority:
    """Use from one event loop; close() at the end."""

    def __init__(
        self, address: str, root: Path, token: Path | None, *, server_name: str = "", cluster: str = ""
    ) -> None:
        """address: HOST:PORT. root: PEM of who signed its certificate. token: None = none is shown. server_name: that
        its certificate has to have; empty: the HOST. cluster: the name of the cluster that the token is of."""
        self.name = f"the authority at {address}"
        self._address = address
        self._root = root
        self._token = token
        self._server_name = server_name
        self._cluster = cluster
        self._files = Worker("authority's files")
        self._learned = b""  # roots that came with the last answer
        self._channel: Any = None
        self._known: bytes | None = None  # roots of the channel
        self._ending: set[asyncio.Task[None]] = set()

    async def sign(self, spiffe: str, trust_domain: str, request: bytes, now: float, lifetime: float) -> Signed:
        """See store.Issuer. Raises Transient if it is away or has too much to do, Rejected if it refuses."""
        roots, metadata = await self._files.do(self._read)
        channel = self._connected(roots)
        call = channel.unary_unary(
            METHOD,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=CertificateResponse.FromString,
        )
        message = certificate_request(request, lifetime, spiffe)
        try:
            response = await call(message, metadata=metadata, timeout=ANSWER_SECONDS)
        except grpc.aio.AioRpcError as error:
            if channel is self._channel:  # the next attempt connects anew: when, says the back-off of each identity
                self._end()
            raise self._said(error) from None
        signed = _signed([str(one).encode() for one in response.cert_chain])
        self._learned = signed.roots
        return signed

    async def close(self) -> None:
        """See store.Issuer."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None
        self._files.close()

    def _read(self) -> tuple[bytes, tuple[tuple[str, str], ...]]:
        """Roots, and what the call says of us. Raises Rejected."""
        try:
            roots = merged((_content(self._root), self._learned))
        except ValueError as error:
            raise Rejected(str(self._root), f"has no certificates that can be used: {error}") from None
        metadata = []
        if self._token is not None:
            token = _content(self._token).strip()
            if not token or not token.isascii() or len(token.split()) != 1:
                raise Rejected(str(self._token), "is no token: one word is expected")
            metadata.append((AUTHORIZATION, BEARER + token.decode("ascii")))
        if self._cluster:
            metadata.append((CLUSTER, self._cluster))
        return roots, tuple(metadata)

    def _connected(self, roots: bytes) -> Any:
        if self._channel is not None and roots != self._known:
            self._end()
        if self._channel is None:
            options: list[tuple[str, str | int]] = [
                ("grpc.max_receive_message_length", MOST_MESSAGE),
                ("grpc.use_local_subchannel_pool", 1),  # the next channel knows the server by other roots
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.enable_http_proxy", 0),
            ]
            if self._server_name:
                options.append(("grpc.ssl_target_name_override", self._server_name))
            credentials = grpc.ssl_channel_credentials(root_certificates=roots)
            self._channel = grpc.aio.secure_channel(self._address, credentials, options)
            self._known = roots
        return self._channel

    def _end(self) -> None:
        """Calls that are under way on the channel are finished first."""
        channel, self._channel = self._channel, None
        task = asyncio.create_task(channel.close(grace=ANSWER_SECONDS))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _said(self, error: grpc.aio.AioRpcError) -> TidegateError:
        """What became of a call, for people. Details are the other side's or gRPC's, and never have our token."""
        text = (error.details() or "")[:500]
        code = error.code()
        if code in _LATER:
            why = "does not answer in time" if code is grpc.StatusCode.DEADLINE_EXCEEDED else f"is away: {text}"
            return Transient(self.name, f"has too much to do: {text}" if code.name == "RESOURCE_EXHAUSTED" else why)
        return Rejected(self.name, f"refuses ({code.name}): {text}")


def _signed(chain: list[bytes]) -> Signed:
    """The leaf and who is between, each an element of the answer; its last element are the roots. Raises Rejected."""
    if len(chain) < 2:
        raise Rejected("the certificate that came", "has no root with it", "ask whoever runs the authority")
    try:
        for text in chain[:-1]:
            certificates_in(text)
        return Signed(b"".join(one.strip() + b"\n" for one in chain[:-1]), merged([chain[-1]]))
    except ValueError as error:
        raise Rejected("the certificate that came", f"cannot be read: {error}") from None


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_FILE + 1)
    except OSError as error:
        raise Rejected(str(path), f"cannot be read: {error.strerror}") from None
    if len(content) > MOST_FILE:
        raise Rejected(str(path), f"has more than {MOST_FILE} bytes")
    return content
