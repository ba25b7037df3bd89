"""Agent HTTP: what is true on this node, for people, scripts and the lab.

Unix socket (0600) and, unless switched off, localhost ports as Istio's: 15000 admin, 15020 metrics, 15021 ready.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from tidegate.errors import TidegateError

log = logging.getLogger(__name__)

Query = Mapping[str, str]


class Admin:
    """Serves values that providers compute on request; a provider raising TidegateError becomes a 400."""

    def __init__(
        self,
        *,
        views: Mapping[str, Callable[[Query], Awaitable[Any]]],
        metrics: Callable[[], bytes],
        ready: Callable[[], list[str]],
    ) -> None:
        self._views = views
        self._metrics = metrics
        self._ready = ready
        self._runners: list[web.AppRunner] = []

    async def start(self, unix_socket: Path, admin_port: int, metrics_port: int, ready_port: int) -> None:
        """Listen. A localhost port that is taken is logged and left out: the unix socket is the one that counts."""
        unix_socket.unlink(missing_ok=True)
        full = [web.get(f"/{name}", self._view(provider)) for name, provider in self._views.items()]
        metrics = [web.get("/metrics", self._serve_metrics)]
        ready = [web.get("/healthz/ready", self._serve_ready)]
        everything = [*full, *metrics, *ready]
        runner = await self._runner([*everything, web.get("/logging", _logging)])
        # Every user of the node and every hostNetwork pod reaches localhost: what is served there changes nothing.
        readable = [*everything, web.get("/logging", _logging_of_strangers)]
        old = os.umask(0o177)
        try:
            await web.UnixSite(runner, str(unix_socket)).start()
        finally:
            os.umask(old)
        for port, routes in ((admin_port, readable), (metrics_port, metrics), (ready_port, ready)):
            if port:
                try:
                    await web.TCPSite(await self._runner(routes), "127.0.0.1", port).start()
                except OSError as error:
                    log.warning("admin port %d: %s", port, error)

    async def stop(self) -> None:
        for runner in self._runners:
            await runner.cleanup()

    async def _runner(self, routes: list[web.RouteDef]) -> web.AppRunner:
        app = web.Application()
        app.add_routes(routes)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._runners.append(runner)
        return runner

    @staticmethod
    def _view(provider: Callable[[Query], Awaitable[Any]]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            try:
                return web.json_response(await provider(request.query))
            except TidegateError as error:
                return web.json_response({"error": str(error)}, status=400)

        return handle

    async def _serve_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _serve_ready(self, _: web.Request) -> web.Response:
        missing = self._ready()
        return web.Response(text="\n".join(missing) + "\n" if missing else "ready\n", status=503 if missing else 200)


async def _logging(request: web.Request) -> web.Response:
    level = request.query.get("level", "").upper()
    if level:
        if level not in logging.getLevelNamesMapping():
            return web.json_response(
                {"error": f"level {level!r} is not one of debug, info, warning, error"}, status=400
            )
        logging.getLogger("tidegate").setLevel(level)
    return web.json_response({"level": logging.getLevelName(logging.getLogger("tidegate").getEffectiveLevel()).lower()})


async def _logging_of_strangers(request: web.Request) -> web.Response:
    if "level" in request.query:
        return web.json_response({"error": "the level is changed over the unix socket only: agent.sock"}, status=403)
    return await _logging(request)
