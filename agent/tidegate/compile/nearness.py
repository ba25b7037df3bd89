"""Which of a Service's endpoints are near enough: internalTrafficPolicy and trafficDistribution. Pure.

We stand where kube-proxy's choice stood, so we choose as it does: by the node and the zone that this node is in, among
endpoints that are ready. A policy keeps only what is here; a preference that nothing fits is none. Where a cluster says
for whom each endpoint is, as it does for a preference and for topology-aware routing, that holds: it knows how many
endpoints each zone can spare.

Of those that are left a DestinationRule may use some rather than others: compile/localities.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tidegate.compile.derive import Read
from tidegate.compile.facts import Endpoint
from tidegate.compile.tables import HERE, NODES
from tidegate.model.kube import Near, Service
from tidegate.model.locality import HOSTNAME, OWN_LOCALITY, REGION, SUBZONE, ZONE, Locality

Chosen = tuple[Endpoint, ...]


def near(read: Read, service: Service, found: Chosen) -> Chosen:
    """The endpoints that clients on this node are sent to; all of them while this node's own name is not known."""
    hinted = bool(found) and all(e.hinted is not None for e in found)
    here = "" if service.near is Near.ANY and not hinted else read(HERE, "") or ""
    if not here:
        return found
    if service.near is Near.SAME_NODE:
        return _those(found, lambda e: e.node == here)
    if hinted and (meant := _meant(found, here, _zone(read, here))):
        return meant
    zone = _zone(read, here)
    same_node = _those(found, lambda e: e.node == here) if service.near is Near.NODE_FIRST else ()
    same_zone = _those(found, lambda e: (e.zone or _zone(read, e.node)) == zone) if zone and not same_node else ()
    return same_node or same_zone or found


def _meant(found: Chosen, here: str, zone: str) -> Chosen:
    """Those that hints mean for this node, or for its zone; a hint that some lack is none."""
    written = [e.hinted for e in found if e.hinted is not None]
    if all(w.for_nodes for w in written) and any(here in w.for_nodes for w in written):
        return _those(found, lambda e: e.hinted is not None and here in e.hinted.for_nodes)
    if zone and all(w.for_zones for w in written):
        return _those(found, lambda e: e.hinted is not None and zone in e.hinted.for_zones)
    return ()


def _those(found: Chosen, fits: Callable[[Endpoint], bool]) -> Chosen:
    return tuple(e for e in found if fits(e))


def _zone(read: Read, node: str) -> str:
    known = read(NODES, node)
    return known.zone if known else ""


def here(read: Read) -> Locality:
    """Where this node stands; all parts empty while its name is not known."""
    return _of_node(read, read(HERE, "") or "")


def locality(read: Read, endpoint: Endpoint) -> Locality:
    """Where an endpoint stands: as who wrote it down says, else its pod's label, else its node's do."""
    if endpoint.workload is not None and endpoint.workload.locality:
        return Locality.parse(endpoint.workload.locality)
    if OWN_LOCALITY in endpoint.labels:
        return Locality.parse(endpoint.labels[OWN_LOCALITY])
    found = _of_node(read, endpoint.node)
    return found._replace(zone=endpoint.zone) if endpoint.zone and not found.zone else found


def topology(read: Read, node: str) -> Mapping[str, str]:
    """What labels of topology say of all that is on a node."""
    found = _of_node(read, node)
    return {REGION: found.region, ZONE: found.zone, SUBZONE: found.subzone, HOSTNAME: node}


def _of_node(read: Read, name: str) -> Locality:
    known = read(NODES, name) if name else None
    return Locality(known.region, known.zone, known.subzone) if known else Locality()
