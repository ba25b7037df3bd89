"""`tidegate ca` in this process, on a port of localhost, and callers that know nothing of our client.

The caller's messages are written byte by byte from the public form (istio/api, security/v1alpha1/ca.proto), so that a
mistake in our own declaration of it is not on both sides.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.struct_pb2 import Struct

from tests.support.eventually import HANG_SECONDS
from tidegate.ca.callers import CallerTable, caller_table
from tidegate.ca.issuing import Bounds, Issued, Issuing, Nodes, Tokens
from tidegate.ca.rates import Rates
from tidegate.ca.server_certificate import ServerCertificate
from tidegate.ca.service import CertificateService
from tidegate.identity.authority import ROOT_CERTIFICATE
from tidegate.identity.embedded import AuthorityFolder
from tidegate.identity.revocation import NOTHING_REVOKED, Revocations
from tidegate.runtime.clock import Clock, SystemClock
from tidegate.runtime.worker import Worker

WORD = "a-word-that-nobody-guesses"
BOUNDS = Bounds(3600.0, 10.0, 86_400.0)
CREATE = "/istio.v1.auth.IstioCertificateService/CreateCertificate"


def row(name: str, word: str, *may: str) -> str:
    """A caller of the table that is known by a word."""
    digest = sha256(word.encode()).hexdigest()
    return f"[[caller]]\nname = {json.dumps(name)}\ntoken_sha256 = {json.dumps(digest)}\nmay = {json.dumps(may)}\n"


@dataclass
class RunningAuthority:
    """What a test may turn while it runs."""

    folder: Path
    table: CallerTable = field(default_factory=lambda: caller_table(row("node1", WORD, "default/*").encode(), "table"))
    told: list[Issued] = field(default_factory=list)
    port: int = 0
    mtls_port: int = 0
    issuing: Any = None

    @property
    def root(self) -> Path:
        return self.folder / ROOT_CERTIFICATE

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@asynccontextmanager
async def authority_running(
    folder: Path,
    *,
    clock: Clock | None = None,
    tokens: Tokens | None = None,
    nodes: Nodes | None = None,
    revoked: Revocations = NOTHING_REVOKED,
    rates: Rates | None = None,
    port: int = 0,
) -> AsyncIterator[RunningAuthority]:
    clock = clock or SystemClock()
    running = RunningAuthority(folder)
    issuing = running.issuing = Issuing(
        AuthorityFolder(folder),
        Worker("authority"),
        lambda: running.table,
        ("cluster.local", "old.example"),
        BOUNDS,
        rates or Rates(1000.0, 1000),
        clock,
        tokens=tokens,
        nodes=nodes,
        revoked=lambda: revoked,
        told=running.told.append,
    )
    shown = ServerCertificate(AuthorityFolder(folder), "cluster.local", ["127.0.0.1", "authority.example"], clock)
    service = CertificateService(issuing, shown.now)
    await service.start(("127.0.0.1", port), ("127.0.0.1", 0))
    running.port, running.mtls_port = service.ports
    try:
        yield running
    finally:
        await service.stop(0)


def request_bytes(csr: bytes, seconds: int = 0, metadata: dict[str, Any] | None = None) -> bytes:
    """IstioCertificateRequest: csr = 1, validity_duration = 3, metadata = 4."""
    out = b"\x0a" + _varint(len(csr)) + csr
    if seconds:
        out += b"\x18" + _varint(seconds)
    if metadata is not None:
        struct = Struct()
        struct.update(metadata)
        body = struct.SerializeToString()
        out += b"\x22" + _varint(len(body)) + body
    return out


def chain_in(response: bytes) -> list[str]:
    """IstioCertificateResponse: repeated string cert_chain = 1, and nothing else."""
    found, rest = [], response
    while rest:
        assert rest[0] == 0x0A, "a field that is not in the public form"
        size, used = _read_varint(rest[1:])
        found.append(rest[1 + used : 1 + used + size].decode())
        rest = rest[1 + used + size :]
    return found


async def create(
    port: int,
    root: bytes,
    request: bytes,
    *,
    token: str = "",
    pair: tuple[bytes, bytes] | None = None,
    name: str = "",
    metadata: tuple[tuple[str, str], ...] = (),
) -> list[str]:
    """One call of a plain client. pair: certificate and key that it shows. Raises grpc.aio.AioRpcError."""
    certificate, key = pair or (None, None)
    credentials = grpc.ssl_channel_credentials(root, key, certificate)
    options = [("grpc.use_local_subchannel_pool", 1)]
    if name:
        options.append(("grpc.ssl_target_name_override", name))  # type: ignore[arg-type]
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        shown = (("authorization", f"Bearer {token}"),) if token else ()
        call: Any = channel.unary_unary(CREATE)
        response: bytes = await call(request, metadata=(*shown, *metadata), timeout=HANG_SECONDS)
    return chain_in(response)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _read_varint(data: bytes) -> tuple[int, int]:
    value = used = 0
    while True:
        value |= (data[used] & 0x7F) << (7 * used)
        used += 1
        if not data[used - 1] & 0x80:
            return value, used
