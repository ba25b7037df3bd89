"""From configuration to Envoy, again and again: the only task that changes what a gateway serves."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from tidegate.compile.envoy.identities import own_secrets
from tidegate.compile.facts import NOTHING, Facts, join
from tidegate.compile.gateway.compiler import GatewayPlan, compile_gateway
from tidegate.compile.gateway.tls import Materials
from tidegate.gateway.files import CertificateDirectory
from tidegate.identity.store import Identities
from tidegate.model.gateway import GatewayWorkload
from tidegate.model.identity import Identity
from tidegate.model.mesh import Mesh
from tidegate.runtime.latest import Latest
from tidegate.xds.server import AdsServer

log = logging.getLogger(__name__)


class GatewayWork:
    """What one gateway has been told and what of it is in force."""

    def __init__(
        self,
        workload: GatewayWorkload,
        node: str,
        config: Latest[Mesh | None],
        files: CertificateDirectory,
        ads: AdsServer,
        identities: Identities,
        identity: Identity,
    ) -> None:
        """identities: where its certificate of the mesh comes from; identity: who it is."""
        self._node = node
        self._config = config
        self._files = files
        self._ads = ads
        self._identities = identities
        self._identity = identity
        self._applied = (0, 0)  # generation, revision
        self.workload = workload
        self.facts: Facts = NOTHING
        self.plan = GatewayPlan()
        self.generation = 0

    @property
    def applied(self) -> tuple[int, int]:
        """Generation and revision that Envoy confirmed, or refused, each part of; (0, 0) before the first."""
        if self.generation and self._ads.answered() >= self.generation:
            self._applied = (self.generation, self.facts.mesh.revision)
        return self._applied

    async def run(self) -> None:
        """Compile and publish whatever is new, for ever."""
        config, files, held = 0, 0, 0
        while True:
            new = [
                asyncio.create_task(self._config.newer(config)),
                asyncio.create_task(self._files.materials.newer(files)),
                asyncio.create_task(self._identities.held.newer(held)),
            ]
            await asyncio.wait(new, return_when=asyncio.FIRST_COMPLETED)
            for task in new:
                task.cancel()
            await asyncio.gather(*new, return_exceptions=True)
            config, files = self._config.version, self._files.materials.version
            held = self._identities.held.version
            mesh = self._config.value
            if mesh is not None:
                issued = own_secrets(self._identities.held.value)
                await self._take(mesh, replace(self._files.materials.value, of_the_mesh=issued))

    async def _take(self, mesh: Mesh, materials: Materials) -> None:
        _ = self.applied  # what was in force until now
        self.facts, self.plan = await asyncio.to_thread(self._compile, mesh, materials)
        self._files.want(self.plan.gateways)
        wanted = [self._identity] if self.plan.asks_for_identity else []
        self._identities.want(wanted, self.facts.mesh.config.trust_domains[0])
        self.generation += 1
        await self._ads.publish(self.generation, self.plan.judged())

    def _compile(self, mesh: Mesh, materials: Materials) -> tuple[Facts, GatewayPlan]:
        facts = join(mesh, (), self.facts, self._node)
        return facts, compile_gateway(facts, self.workload, materials, asked=self.plan)
