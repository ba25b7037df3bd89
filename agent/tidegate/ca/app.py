"""Composition root of `tidegate ca`.

folder with root and key ─> AuthorityFolder ─┐
table of callers, keys of tokens, cluster ───┼─> Issuing ─> CertificateService ─> agents
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.ca import audit
from tidegate.ca.callers import NOBODY, caller_table
from tidegate.ca.cluster import ClusterCallers
from tidegate.ca.issuing import Bounds, Issuing
from tidegate.ca.rates import Rates
from tidegate.ca.server_certificate import ServerCertificate
from tidegate.ca.service import CertificateService
from tidegate.ca.signed_tokens import SignedTokens, keys_of_file
from tidegate.ca.views import AuthorityViews
from tidegate.config.sources.kube.access import in_cluster, kubeconfig
from tidegate.config.sources.kube.server import ApiServer
from tidegate.identity.embedded import AuthorityFolder
from tidegate.identity.files import WatchedFile
from tidegate.identity.opening import open_revocations
from tidegate.identity.revocation import NOTHING_REVOKED
from tidegate.linux.inherited import shed_inherited
from tidegate.observe.admin import Admin
from tidegate.runtime.clock import SystemClock
from tidegate.runtime.stopping import asked_to_stop
from tidegate.runtime.worker import Worker

log = logging.getLogger(__name__)

GRACE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class AuthorityOptions:
    """How one authority runs."""

    listen: tuple[str, int]
    with_certificates: tuple[str, int] | None  # where callers show a certificate of the mesh
    folder: Path
    state: Path  # of the socket that `tidegate status` asks
    trust_domains: tuple[str, ...]
    names: tuple[str, ...]  # of the server
    bounds: Bounds
    each_second: float
    burst: int
    callers: Path | None
    token_keys: Path | None
    cluster: str  # of Kubernetes, as settings.check_source takes it; empty: none
    crl: Path | None
    audience: str
    issuer: str
    metrics_port: int


async def serve(options: AuthorityOptions) -> None:
    """Until SIGTERM or SIGINT. Raises TidegateError if it cannot do its job here."""
    _log_lines()
    shed_inherited("tidegate ca")
    stop = asked_to_stop()
    clock = SystemClock()
    table = WatchedFile(options.callers, caller_table) if options.callers else None
    keys = WatchedFile(options.token_keys, keys_of_file) if options.token_keys else None
    revoked = open_revocations(options.crl)
    server = _server(options.cluster)
    cluster = ClusterCallers(server, options.audience) if server else None
    folder, worker = AuthorityFolder(options.folder), Worker("authority")
    issuing = Issuing(
        folder,
        worker,
        lambda: table.value if table else NOBODY,
        options.trust_domains,
        options.bounds,
        Rates(options.each_second, options.burst),
        clock,
        tokens=SignedTokens(lambda: keys.value, options.audience, options.issuer, clock) if keys else cluster,
        nodes=cluster,
        revoked=lambda: revoked.value if revoked else NOTHING_REVOKED,
        told=audit.Audit(clock),
    )
    # Read first, or made: who cannot sign does not start.
    authority = await worker.do(folder.now, options.trust_domains[0], clock.now())
    shown = ServerCertificate(AuthorityFolder(options.folder), options.trust_domains[0], options.names, clock)
    service = CertificateService(issuing, shown.now)
    await service.start(options.listen, options.with_certificates)
    files = [one for one in (table, keys, revoked) if one is not None]
    views = AuthorityViews(options.listen[0], service.ports, folder, issuing, files, clock)
    admin = Admin(views={"status": views.status}, metrics=views.metrics, missing=list, assets={})
    await _listen(admin, options)
    log.info("%s signs in %s", authority.name, ", ".join(options.trust_domains))
    print(f"serving on {options.listen[0]} port {' and '.join(map(str, service.ports))}", flush=True)
    work: dict[str, Coroutine[Any, Any, object]] = {"stop": stop.wait()}
    work |= {str(one.path): one.run() for one in files}
    tasks = [asyncio.create_task(coroutine, name=name) for name, coroutine in work.items()]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await service.stop(GRACE_SECONDS)
        if server:
            await server.close()
        await admin.stop()


def _server(cluster: str) -> ApiServer | None:
    """The API server that knows callers and nodes."""
    if not cluster:
        return None
    file = cluster.partition(":")[2]
    return ApiServer(kubeconfig(Path(file)) if file else in_cluster(), SystemClock(), random.random, "authority")


async def _listen(admin: Admin, options: AuthorityOptions) -> None:
    try:
        options.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        await admin.start(options.state / "agent.sock", 0, options.metrics_port, 0)
    except OSError as error:
        log.warning("nobody can ask how it does: %s; name another --state-dir", error)


def _log_lines() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s %(message)s", level="WARNING")
    logging.getLogger("tidegate").setLevel("INFO")
    plain = logging.StreamHandler()
    plain.setFormatter(logging.Formatter("%(message)s"))
    lines = logging.getLogger(audit.NAME)
    lines.addHandler(plain)
    lines.propagate = False
