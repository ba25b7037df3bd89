"""Annotations by which Istio and Kubernetes are told what Tidegate does not do yet. Others mean nothing here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tidegate.config import messages as say
from tidegate.config.schema import Report
from tidegate.config.shapes.metadata import Metadata

EXPORT_TO: Final = "networking.istio.io/exportTo"
DISTRIBUTION: Final = "networking.istio.io/traffic-distribution"  # Istio's own word for spec.trafficDistribution

_CAPTURED = "connections are captured by destination, whatever is written here"
# Name -> what happens all the same.
OF_PODS: Final[Mapping[str, str]] = {
    "traffic.sidecar.istio.io/excludeOutboundIPRanges": _CAPTURED,
    "traffic.sidecar.istio.io/excludeOutboundPorts": _CAPTURED,
    "traffic.sidecar.istio.io/includeOutboundIPRanges": _CAPTURED,
    "traffic.sidecar.istio.io/includeOutboundPorts": _CAPTURED,
    "traffic.sidecar.istio.io/excludeInterfaces": _CAPTURED,
    "proxy.istio.io/config": "there is one Envoy for the node, and it has one configuration",
    "proxy.istio.io/overrides": "no container is injected, so there is none to override",
}
OF_SERVICES: Final[Mapping[str, str]] = {
    "service.kubernetes.io/topology-mode": "write spec.trafficDistribution",
    "service.kubernetes.io/topology-aware-hints": "write spec.trafficDistribution",
}
_NOTHING_ASKED = frozenset({"", "*", "disabled", "Disabled"})


def tell(metadata: Metadata, table: Mapping[str, str], report: Report) -> None:
    """Name those of the table that ask for something."""
    for name in table.keys() & metadata.annotations.keys():
        if metadata.annotations[name] not in _NOTHING_ASKED:
            report.say(metadata, ("annotations", name), say.ANNOTATION(why=table[name]))
