"""`python -m tests.kube.names URL AUTHORITY TOKEN ADDRESS`: the cluster's DNS, in CoreDNS' place, on ADDRESS port 53.

It answers as the lab's does (`tidegate_lab.dns_zone`), from the Services and EndpointSlices that an API server tells.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

import aiohttp

from tidegate.model.names import ServiceName
from tidegate.model.net import parse_ip
from tidegate_lab.dns_server import DnsServer, sockets
from tidegate_lab.dns_zone import Backend, Zone, ZoneService

Object = dict[str, Any]
PATHS = {
    "services": "/api/v1/services",
    "slices": "/apis/discovery.k8s.io/v1/endpointslices",
    "namespaces": "/api/v1/namespaces",
}
# Everything first, then what changes; the server ends it after a while, and it begins again.
WATCH = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=600"


def zone(services: Iterable[Object], slices: Iterable[Object], namespaces: Iterable[Object]) -> Zone:
    """Names of these objects."""
    behind: dict[tuple[str, str], list[Backend]] = {}
    for one in slices:
        labels = one["metadata"].get("labels", {})
        of = one["metadata"]["namespace"], labels.get("kubernetes.io/service-name", "")
        backends = behind.setdefault(of, [])
        for endpoint in one.get("endpoints") or ():
            if endpoint.get("conditions", {}).get("ready", True):
                ips = tuple(ip_address(address) for address in endpoint["addresses"])
                backends.append(Backend(ips, endpoint.get("hostname", "")))
    made = []
    for one in services:
        name, space, spec = one["metadata"]["name"], one["metadata"]["namespace"], one["spec"]
        addresses = [address for address in spec.get("clusterIPs") or () if address not in ("", "None")]
        made.append(
            ZoneService(
                ServiceName(space, name),
                tuple(ip_address(address) for address in addresses),
                tuple(behind.get((space, name), ())),
                spec.get("externalName", ""),
            )
        )
    return Zone.of(made, [one["metadata"]["name"] for one in namespaces])


class Followed:
    """What an API server tells of PATHS, kept up."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[str, Object]] = {kind: {} for kind in PATHS}
        self._zone: Zone | None = None

    def zone(self) -> Zone:
        """As of now."""
        if self._zone is None:
            self._zone = zone(*(list(self._objects[kind].values()) for kind in PATHS))
        return self._zone

    async def follow(self, session: aiohttp.ClientSession, url: str, kind: str) -> None:
        """For ever; over and over when the stream ends."""
        while True:
            try:
                async with session.get(f"{url}{PATHS[kind]}?{WATCH}") as answer:
                    answer.raise_for_status()
                    await self._read(answer.content, kind)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                print(f"{kind}: {error!r}", file=sys.stderr, flush=True)
            await asyncio.sleep(0.5)  # the server is away or has just ended the stream

    async def _read(self, content: aiohttp.StreamReader, kind: str) -> None:
        # Those of before are kept until the list is whole: a name does not go because a stream began anew.
        listed: dict[str, Object] | None = {}
        rest = b""
        async for block in content.iter_any():
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                listed = self._take(kind, json.loads(line), listed)

    def _take(self, kind: str, event: Object, listed: dict[str, Object] | None) -> dict[str, Object] | None:
        """One event; returns what the list has so far, None when it was whole."""
        what, one = event["type"], event["object"]
        if what == "ERROR":
            raise aiohttp.ClientError(one.get("message", "the stream ended in an error"))
        if what == "BOOKMARK":
            if listed is not None and "k8s.io/initial-events-end" in one["metadata"].get("annotations", {}):
                self._objects[kind], listed = listed, None
        else:
            where = self._objects[kind] if listed is None else listed
            key = f"{one['metadata'].get('namespace', '')}/{one['metadata']['name']}"
            where[key] = one
            if what == "DELETED":
                del where[key]
        self._zone = None
        return listed


async def main(url: str, authority: str, token: str, address: str) -> None:
    """Serve for ever."""
    followed = Followed()
    server = DnsServer(followed.zone, captured=lambda _: True)
    await server.listen(*sockets(parse_ip(address)))
    headers = {"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"}
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=authority))
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=30)
    async with aiohttp.ClientSession(headers=headers, connector=connector, timeout=timeout) as session:
        await asyncio.gather(*(followed.follow(session, url, kind) for kind in PATHS))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5]))
