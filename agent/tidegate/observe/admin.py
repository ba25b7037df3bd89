"""Agent HTTP: what is true on this node, for people, scripts and the lab.

Unix socket (0600) and, unless switched off, localhost ports as Istio's: 15000 admin, 15020 metrics, 15021 ready. A page
of another site in a browser on this machine can reach those ports too, so what comes over TCP must name this machine in
Host (a foreign name that resolves to 127.0.0.1 does not) and must not come from another site.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from tidegate.errors import TidegateError
from tidegate.observe.dashboard.assets import Asset
from tidegate.runtime.http import typedefs, web

log = logging.getLogger(__name__)

Query = Mapping[str, str]

_OWN_NAMES = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_SECURITY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Admin:
    """Serves values that providers compute on request; a provider raising TidegateError becomes a 400."""

    def __init__(
        self,
        *,
        views: Mapping[str, Callable[[Query], Awaitable[Any]]],
        metrics: Callable[[], Awaitable[bytes]],
        missing: Callable[[], list[str]],
        assets: Mapping[str, Asset],
    ) -> None:
        """missing: what this node lacks to be ready (observe.readiness).
        assets: URL path -> static file, served with the admin routes."""
        self._views = views
        self._metrics = metrics
        self._missing = missing
        self._assets = assets
        self._runners: list[web.AppRunner] = []

    async def start(
        self, unix_socket: Path, admin_port: int, metrics_port: int, ready_port: int, *, ready_everywhere: bool = False
    ) -> None:
        """Listen. A localhost port that is taken is logged and left out: the unix socket is the one that counts.

        ready_everywhere: the readiness port, which tells nothing else, is on every address: a kubelet asks the pod's.
        """
        unix_socket.unlink(missing_ok=True)
        full = [web.get(f"/{name}", self._view(provider)) for name, provider in self._views.items()]
        full += [web.get(path, _static(asset)) for path, asset in self._assets.items()]
        metrics = [web.get("/metrics", self._serve_metrics)]
        ready = [web.get("/healthz/ready", self._serve_ready)]
        everything = [*full, *metrics, *ready, web.get("/logging", _logging)]
        runner = await self._runner(everything, _harden)
        old = os.umask(0o177)
        try:
            await web.UnixSite(runner, str(unix_socket)).start()
        finally:
            os.umask(old)
        for port, routes in ((admin_port, everything), (metrics_port, metrics), (ready_port, ready)):
            if port:
                public = ready_everywhere and routes is ready
                guards = (_harden,) if public else (_harden, _local_only)
                address = None if public else "127.0.0.1"
                try:
                    await web.TCPSite(await self._runner(routes, *guards), address, port).start()
                except OSError as error:
                    log.warning("admin port %d: %s", port, error)

    async def stop(self) -> None:
        for runner in self._runners:
            await runner.cleanup()

    async def _runner(self, routes: list[web.RouteDef], *middlewares: typedefs.Middleware) -> web.AppRunner:
        app = web.Application(middlewares=middlewares)
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
        return web.Response(
            body=await self._metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def _serve_ready(self, _: web.Request) -> web.Response:
        missing = self._missing()
        return web.Response(text="\n".join(missing) + "\n" if missing else "ready\n", status=503 if missing else 200)


@web.middleware
async def _harden(request: web.Request, handler: typedefs.Handler) -> web.StreamResponse:
    """Nothing that is served here may run, frame or load anything but the page's own files."""
    try:
        response = await handler(request)
    except web.HTTPException as error:  # 404, 405
        error.headers.update(_SECURITY)
        raise
    response.headers.update(_SECURITY)
    return response


@web.middleware
async def _local_only(request: web.Request, handler: typedefs.Handler) -> web.StreamResponse:
    """Refuse names that are not this machine's, and other sites. Following a link to the page itself is fine."""
    host = request.headers.get("Host", "")
    if not _OWN_NAMES.fullmatch(host):
        return web.Response(status=421, text=f"Host {host!r} is not localhost, 127.0.0.1 or [::1]\n")
    site = request.headers.get("Sec-Fetch-Site", "none")
    if site not in ("none", "same-origin") and (request.path != "/" or _mode(request) != "navigate"):
        return web.Response(status=403, text="a page of another site may not read this\n")
    return await handler(request)


def _mode(request: web.Request) -> str:
    return request.headers.get("Sec-Fetch-Mode", "")


def _static(asset: Asset) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(_: web.Request) -> web.Response:
        return web.Response(body=asset.body, content_type=asset.content_type, charset="utf-8")

    return handle


async def _logging(request: web.Request) -> web.Response:
    level = request.query.get("level", "").upper()
    if level:
        if level not in logging.getLevelNamesMapping():
            return web.json_response(
                {"error": f"level {level!r} is not one of debug, info, warning, error"}, status=400
            )
        logging.getLogger("tidegate").setLevel(level)
    return web.json_response({"level": logging.getLevelName(logging.getLogger("tidegate").getEffectiveLevel()).lower()})
