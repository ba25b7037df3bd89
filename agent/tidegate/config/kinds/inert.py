"""Objects that stand beside others in manifests and do nothing to a mesh, and kinds that do nothing here yet."""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.config.kinds.base import Kind, Place
from tidegate.config.schema import Report
from tidegate.config.shapes.metadata import AnyDoc


def read(_doc: AnyDoc, _place: Place, _report: Report) -> None:
    return None


INERT = tuple(Kind(group="", name=name, versions=("v1",), shape=AnyDoc, read=read) for name in ("ServiceAccount",))
# Kinds of the Istio API that do nothing here yet, by API group.
LATER: Mapping[str, frozenset[str]] = {
    "networking.istio.io": frozenset(),
    "security.istio.io": frozenset({"RequestAuthentication"}),
    "telemetry.istio.io": frozenset({"Telemetry"}),
    "extensions.istio.io": frozenset({"WasmPlugin"}),
}
