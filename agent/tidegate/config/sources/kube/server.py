"""Requests to the API server over HTTP/1.1: a connection for each watch, others one after the other (decision 38).

Who we are is read from its files when a connection is made and at least once a minute. The kernel finds out that a peer
is gone (keepalive), so a watch may be silent for as long as it likes.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlencode

from tidegate import __version__
from tidegate.config.sources.kube.access import Access, AccessSource
from tidegate.config.sources.kube.gate import AwayError, Gate
from tidegate.config.sources.kube.resources import JSON
from tidegate.config.sources.kube.stream import refusal
from tidegate.errors import Rejected
from tidegate.runtime.clock import Clock
from tidegate.runtime.http import aiohttp

_CONNECT_S: Final = 10.0
_ANSWER_S: Final = 60.0  # until an answer begins, and between two parts of one that is no watch
_FRESH_S: Final = 60.0
MOST_ANSWER: Final = 1 << 20  # bytes of what is made of a document
_MOST_ERROR: Final = 64 * 1024  # bytes of an error's body that are read
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000),
)


class ResponseBody:
    """What an answer consists of."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def blocks(self) -> AsyncIterator[bytes]:
        """Until it ends. Raises AwayError if it is cut off."""
        try:
            async for block in self._response.content.iter_any():
                yield block
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise AwayError(_why(error)) from None

    def abandon(self) -> None:
        """Nobody wants the rest: who reads it gets AwayError."""
        self._response.content.set_exception(aiohttp.ClientConnectionError("nothing was heard for too long"))


class ApiServer:
    """Use from one event loop; close() at the end."""

    def __init__(self, access: AccessSource, clock: Clock, jitter: Callable[[], float], agent: str = "") -> None:
        """agent: who asks, for the server's log."""
        self._access = access
        self._clock = clock
        self._agent = f"tidegate/{__version__}" + (f" ({agent})" if agent else "")
        self._known: Access | None = None
        self._read_at = 0.0
        self._session: aiohttp.ClientSession | None = None
        self._renewing = asyncio.Lock()
        self.gate = Gate(clock, jitter)

    @property
    def address(self) -> str:
        """Where the server is; empty as long as nobody has asked it."""
        return self._known.server if self._known else ""

    def doubt(self) -> None:
        """Whom the server does not know any more reads again who he is, before the next request."""
        self._read_at = float("-inf")

    @asynccontextmanager
    async def get(
        self, path: str, query: Mapping[str, str], accept: str = JSON, *, watch: bool = False
    ) -> AsyncIterator[ResponseBody]:
        """An answer, as it comes. Raises RefusedError, and AwayError at any time."""
        async with self.gate.attempt():
            response = await self._ask(path, query, accept, watch)
        try:
            if response.status != 200:
                body = await self._all(response, _MOST_ERROR)
                raise refusal(response.status, body, {k.lower(): v for k, v in response.headers.items()})
            yield ResponseBody(response)
        finally:
            response.close()

    async def whole(self, path: str, query: Mapping[str, str], accept: str = JSON) -> bytes:
        """As get(), all of it."""
        async with self.get(path, query, accept) as body:
            return b"".join([block async for block in body.blocks()])

    async def create(self, path: str, document: bytes) -> bytes:
        """What the server makes of a document (JSON), at most MOST_ANSWER bytes of it. Raises as get()."""
        async with self.gate.attempt():
            response = await self._ask(path, {}, JSON, False, document)
        try:
            body = await self._all(response, MOST_ANSWER)
            if response.status not in (200, 201):
                raise refusal(response.status, body, {k.lower(): v for k, v in response.headers.items()})
            return body
        finally:
            response.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(
        self, path: str, query: Mapping[str, str], accept: str, watch: bool, document: bytes | None = None
    ) -> aiohttp.ClientResponse:
        """document: that is created; None: nothing is."""
        access, session = await self._renewed()
        headers = {"Accept": accept, "Accept-Encoding": "identity", "User-Agent": self._agent}
        if document is not None:
            headers["Content-Type"] = JSON
        if access.token:
            headers["Authorization"] = f"Bearer {access.token}"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=None if watch else _ANSWER_S)
        url = f"{access.server}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            async with asyncio.timeout(_CONNECT_S + _ANSWER_S):
                return await session.request(
                    "GET" if document is None else "POST",
                    url,
                    data=document,
                    headers=headers,
                    timeout=timeout,
                    allow_redirects=False,
                    server_hostname=access.tls_name or None if access.tls else None,
                )
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            raise AwayError(_why(error)) from None

    async def _renewed(self) -> tuple[Access, aiohttp.ClientSession]:
        """Who we are now; a new session if the server is known, or we are, by other certificates than before."""
        async with self._renewing:
            now = self._clock.monotonic()
            if self._session is None or self._known is None or self.gate.reason or now - self._read_at >= _FRESH_S:
                try:
                    access = await asyncio.to_thread(self._access)
                    if self._session is None or self._known is None or not _same_way(access, self._known):
                        context = await asyncio.to_thread(access.context) if access.tls else None
                        await self.close()
                        self._session = _session(context)
                except Rejected as error:
                    raise AwayError(str(error)) from None
                self._known, self._read_at = access, now
            assert self._session is not None
            return self._known, self._session

    async def _all(self, response: aiohttp.ClientResponse, most: int) -> bytes:
        body = bytearray()
        async for block in ResponseBody(response).blocks():
            body += block
            if len(body) >= most:
                break
        return bytes(body[:most])


def _same_way(one: Access, other: Access) -> bool:
    """But for the token, which each request carries."""
    return (one.server, one.ca, one.verify, one.tls_name, one.certificate, one.key) == (
        other.server, other.ca, other.verify, other.tls_name, other.certificate, other.key
    )  # fmt: skip


def _session(context: ssl.SSLContext | None) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        ssl=context if context is not None else False, limit=0, limit_per_host=0, socket_factory=_socket
    )
    return aiohttp.ClientSession(connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())


def _socket(address: Any) -> socket.socket:
    family, sort, protocol, *_ = address
    made = socket.socket(family, sort, protocol)
    for level, option, value in _KEEPALIVE:
        made.setsockopt(level, option, value)
    return made


def _why(error: BaseException) -> str:
    """In words for who has to do something about it."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError) and not isinstance(error, aiohttp.ClientSSLError):
        return f"{error.host} port {error.port}: {error.os_error.strerror or error.os_error}"
    text = str(error) or type(error).__name__
    certificate = isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError)
    out_of_time = certificate and ("not yet valid" in text or "expired" in text)
    return f"{text}; is this node's clock right?" if out_of_time else text
