"""LoadBalancer Services: each gets an address on this machine's loopback, where browser and curl reach it.

Plays the cloud's load balancer. What arrives at ADDRESS:PORT goes to a ready pod behind the Service, from a node's own
address, as behind a balancer that translates addresses.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from itertools import chain

from tidegate.model.names import ServiceName
from tidegate_lab import addresses
from tidegate_lab.cluster import ServiceObject

log = logging.getLogger(__name__)

Serve = Callable[[ServiceName, int, str], Awaitable[asyncio.Server]]  # service, port, address


@dataclass(slots=True)
class _Balancer:
    address: IPv4Address
    servers: dict[int, asyncio.Server] = field(default_factory=dict)


class LoadBalancers:
    """Keeps the addresses equal to the Services that ask for one. Use from one event loop, one call at a time."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._open: dict[ServiceName, _Balancer] = {}

    @property
    def addresses(self) -> dict[ServiceName, IPv4Address]:
        """External addresses by Service."""
        return {name: balancer.address for name, balancer in self._open.items() if balancer.servers}

    async def follow(self, services: Iterable[ServiceObject]) -> None:
        """Open and close. A Service for whose ports no address is free has none; the log says why."""
        wanted = {
            service.name: {p.port for p in service.spec.ports if p.protocol == "TCP"}
            for service in services
            if service.spec.type == "LoadBalancer"
        }
        for name in [name for name in self._open if name not in wanted]:
            self._close(self._open.pop(name))
        for name, ports in wanted.items():
            known = self._open.get(name)
            if known is not None and known.servers.keys() == ports:
                continue
            if known is not None:
                self._close(known)
                del self._open[name]
            self._open[name] = await self._open_somewhere(name, ports, known)

    def close(self) -> None:
        """Close everything."""
        for balancer in self._open.values():
            self._close(balancer)

    async def _open_somewhere(self, name: ServiceName, ports: Collection[int], before: _Balancer | None) -> _Balancer:
        """Where it was before, else at the first address whose ports are free: another lab may have those before it."""
        taken = {balancer.address for balancer in self._open.values()}
        every = (addresses.LOAD_BALANCERS[number] for number in range(1, addresses.MOST_BALANCERS + 1))
        balancer = _Balancer(addresses.LOAD_BALANCERS[1])
        for address in chain([before.address] if before else [], every):
            if address in taken:
                continue
            balancer = _Balancer(address)
            try:
                for port in sorted(ports):
                    balancer.servers[port] = await self._serve(name, port, str(balancer.address))
                return balancer
            except OSError as error:
                log.info("load balancer of %s: %s: %s", name, balancer.address, error)
                self._close(balancer)
        log.warning("load balancer of %s: no address is free", name)
        return balancer

    @staticmethod
    def _close(balancer: _Balancer) -> None:
        for server in balancer.servers.values():
            server.close()
        balancer.servers = {}
