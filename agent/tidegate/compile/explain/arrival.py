"""What stands in front of the pods to which a connection may go."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tidegate.compile.envoy.patches.selection import Selection
from tidegate.compile.explain.explanation import Hop, Peer
from tidegate.compile.facts import Facts
from tidegate.compile.inbound.filtered import InboundFilters
from tidegate.compile.inbound.ports import served_ports
from tidegate.compile.visibility import Source
from tidegate.model.envoy_filter import Patch
from tidegate.model.kube import Pod
from tidegate.model.names import WorkloadId


def in_front(facts: Facts, selection: Selection, peers: Sequence[Peer]) -> Iterator[Hop]:
    """A step for each patch of an EnvoyFilter that may change what comes to some of these servers, with which."""
    if not selection:
        return
    filters = InboundFilters(selection)
    told: dict[str, dict[str, None]] = {}
    for peer in peers:
        namespace, _, name = peer.pod.partition("/")
        pod = facts.pods.get(WorkloadId(namespace, name))
        if pod is not None and facts.enrolment(pod.id).enrolled:
            for patch in _patches(facts, filters, pod, peer.port):
                what = f"{patch.origin}: {patch.operation.value} of {patch.apply_to.value}"
                told.setdefault(what, {})[peer.pod] = None
    for what, names in told.items():
        yield Hop("envoy filter", f"in front of {', '.join(names)}: {what}")


def _patches(facts: Facts, filters: InboundFilters, pod: Pod, number: int) -> Sequence[Patch]:
    port = next((port for port in served_ports(facts.read, pod) if port.number == number), None)
    return filters.concerning(pod, Source(pod.id.namespace, pod.labels), port) if port is not None else ()
