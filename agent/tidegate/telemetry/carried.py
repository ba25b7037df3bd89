"""Connections that Envoy carries without looking into them, as Istio's TCP metrics, beside those of the fast path.

Envoy counts them (compile/outbound/counted.py); the counters are read when somebody scrapes, and what is new of each is
added. One that became smaller began anew, as those of a new Envoy do.
"""

from __future__ import annotations

import json
import logging
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import quote

from tidegate.compile.envoy import private
from tidegate.compile.envoy.clusters import ClusterKey
from tidegate.compile.facts import Facts
from tidegate.envoy import statistics
from tidegate.errors import Transient
from tidegate.model.gateway import GatewayWorkload
from tidegate.model.net import IPAddress
from tidegate.model.selectors import selects
from tidegate.telemetry.flows import workload_at, workload_name
from tidegate.telemetry.metrics import NewOfConnections, TcpMetrics

log = logging.getLogger(__name__)

PATH = "/stats?format=json&usedonly&filter=" + quote(f"^{statistics.CARRIED}$")
_COUNTER = re.compile(
    rf"{private.STATS}\.(\w+)\.{private.POD}\.(\d+)\.{private.SERVICE}\.(.+)"
    rf"\.{private.ENDPOINT}\.(.*?)(?:\.{private.FROM}\.(.*))?"
)

WorkloadName = tuple[str, str]  # namespace and name, as flows.py has them


class CarriedCounter(NamedTuple):
    """What one of Envoy's counters is about."""

    what: str
    cookie: int  # netns of the client
    service: str  # FQDN:PORT
    endpoint: IPAddress | None
    connected: bool  # whether there was a connection to a server; True of those that do not tell


def parse(page: str) -> dict[CarriedCounter, int]:
    """The counters on the page at PATH. What is not ours is left out. Raises ValueError if it is no such page."""
    found = json.loads(page)
    if not isinstance(found, dict) or not isinstance(found.get("stats"), list):
        raise ValueError("no stats page of Envoy")
    out: dict[CarriedCounter, int] = defaultdict(int)
    for stat in found["stats"]:
        match = _COUNTER.fullmatch(stat.get("name", ""))
        if match and isinstance(stat.get("value"), int):
            what, cookie, service, endpoint, local = match.groups()
            cluster = ClusterKey.parse(service)
            asked = f"{cluster.fqdn}:{cluster.port}" if cluster else service
            key = CarriedCounter(what, int(cookie), asked, _address(endpoint), local != "")
            out[key] += stat["value"]
    return dict(out)


class CarriedConnections:
    """What was read so far."""

    def __init__(
        self,
        metrics: TcpMetrics,
        facts: Callable[[], Facts],
        envoy: Callable[[str], Awaitable[str]],
        client: Callable[[Facts, int], WorkloadName],
    ) -> None:
        """envoy: body of a page of its admin interface, by path; raises Transient if it does not answer. client: who is
        meant by a cookie."""
        self._metrics = metrics
        self._facts = facts
        self._envoy = envoy
        self._client = client
        self._read: Mapping[CarriedCounter, int] = {}

    async def read(self) -> None:
        """Count what is new. Envoy may be away: then there is nothing new."""
        try:
            found = parse(await self._envoy(PATH))
        except (Transient, ValueError) as error:
            log.debug("carried connections: %s", error)
            return
        facts, before = self._facts(), self._read
        self._read = found
        for key, value in found.items():
            old = before.get(key, 0)
            if new := value - old if value >= old else value:
                destination = workload_at(facts, key.endpoint)
                self._metrics.count(_news(key, new), self._client(facts, key.cookie), destination, key.service)


def gateway_itself(workload: GatewayWorkload) -> Callable[[Facts, int], WorkloadName]:
    """A gateway is the client of all that it carries."""

    def found(facts: Facts, _: int) -> WorkloadName:
        pods = (pod for pod in facts.pods.values() if pod.id.namespace == workload.namespace)
        names = {workload_name(pod) for pod in pods if selects(workload.labels, pod.labels)}
        return workload.namespace, names.pop() if len(names) == 1 else ""

    return found


def _news(key: CarriedCounter, amount: int) -> NewOfConnections:
    match key.what:
        case private.CARRIED_OPENED:
            return NewOfConnections(opened=amount)
        case private.CARRIED_CLOSED:
            # Who never got through was opened all the same, as with the fast path, and is told of only now.
            return NewOfConnections(opened=0 if key.connected else amount, closed=amount)
        case private.CARRIED_SENT:
            return NewOfConnections(to_client=amount)
        case private.CARRIED_RECEIVED:
            return NewOfConnections(to_server=amount)
    return NewOfConnections()


def _address(endpoint: str) -> IPAddress | None:
    try:
        return ip_address(endpoint.rpartition(":")[0].strip("[]"))
    except ValueError:
        return None  # nobody, or a socket of the file system
