"""Envoy's admin interface on its unix socket."""

from __future__ import annotations

from pathlib import Path

from tidegate.errors import Transient
from tidegate.runtime.http import aiohttp


class EnvoyAdmin:
    """Short requests, each on a connection of its own: the Envoy behind the socket may change between two."""

    def __init__(self, socket: Path, timeout: float = 1.0) -> None:
        self._socket = socket
        self._timeout = aiohttp.ClientTimeout(total=timeout)

    async def ready(self) -> bool:
        """Whether Envoy says that it is live. Raises Transient if it does not answer."""
        status, _ = await self._request("GET", "/ready")
        return status == 200

    async def get(self, path: str) -> str:
        """Body of an admin page. Raises Transient if Envoy does not answer, or not with 200."""
        return await self._expect("GET", path)

    async def post(self, path: str) -> str:
        """As get, for pages that change something."""
        return await self._expect("POST", path)

    async def _expect(self, method: str, path: str) -> str:
        status, body = await self._request(method, path)
        if status != 200:
            raise Transient(f"Envoy admin {path}", f"answered {status}: {body.strip()[:200]}")
        return body

    async def _request(self, method: str, path: str) -> tuple[int, str]:
        connector = aiohttp.UnixConnector(path=str(self._socket), force_close=True)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=self._timeout) as session,
                session.request(method, f"http://envoy{path}") as response,
            ):
                return response.status, await response.text()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Transient(f"Envoy admin {path}", f"no answer: {error or type(error).__name__}") from None
