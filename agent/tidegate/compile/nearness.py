"""Which of a Service's endpoints are near enough: internalTrafficPolicy and trafficDistribution. Pure.

We stand where kube-proxy's choice stood, so we choose as it does: by the node and the zone that this node is in, among
endpoints that are ready. A policy keeps only what is here; a preference that nothing fits is none.
"""

from __future__ import annotations

from collections.abc import Callable

from tidegate.compile.derive import Read
from tidegate.compile.facts import Endpoint
from tidegate.compile.tables import HERE, NODES
from tidegate.model.kube import Near, Service

Chosen = tuple[Endpoint, ...]


def near(read: Read, service: Service, found: Chosen) -> Chosen:
    """The endpoints that clients on this node are sent to; all of them while this node's own name is not known."""
    here = "" if service.near is Near.ANY else read(HERE, "") or ""
    if not here:
        return found
    if service.near is Near.SAME_NODE:
        return _those(found, lambda e: e.node == here)
    zone = _zone(read, here)
    same_node = _those(found, lambda e: e.node == here) if service.near is Near.NODE_FIRST else ()
    same_zone = _those(found, lambda e: (e.zone or _zone(read, e.node)) == zone) if zone and not same_node else ()
    return same_node or same_zone or found


def _those(found: Chosen, fits: Callable[[Endpoint], bool]) -> Chosen:
    return tuple(e for e in found if fits(e))


def _zone(read: Read, node: str) -> str:
    known = read(NODES, node)
    return known.zone if known else ""
