"""Which pods are in the mesh, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tidegate.model.mesh import MeshConfig
from tidegate.model.names import WorkloadId

_MODE = "istio.io/dataplane-mode"
_INJECTION = "istio-injection"
_INJECT = "sidecar.istio.io/inject"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a pod is in the mesh, and a phrase that says why (not)."""

    enrolled: bool
    reason: str
    known: bool = True  # the configuration has the pod


def decide(config: MeshConfig, pod: WorkloadId) -> Decision:
    """Whether a pod is in the mesh. The pod's own labels win over the namespace's."""
    known = config.pods.get(pod)
    if known is None:
        return Decision(False, "its Pod object has not arrived from the configuration source", known=False)
    if known.host_network:
        return Decision(False, "uses the host's network")
    if known.labels.get(_MODE) == "none":
        return Decision(False, f"pod label {_MODE}=none")
    for where, values in (("label", known.labels), ("annotation", known.annotations)):
        if values.get(_INJECT) == "false":
            return Decision(False, f"pod {where} {_INJECT}=false")
    if known.labels.get(_MODE) == "ambient":
        return Decision(True, f"pod label {_MODE}=ambient")
    namespace = config.namespaces.get(pod.namespace)
    labels: Mapping[str, str] = namespace.labels if namespace else {}
    if labels.get(_MODE) == "none":
        return Decision(False, f"namespace label {_MODE}=none")
    for key, value in ((_MODE, "ambient"), (_INJECTION, "enabled")):
        if labels.get(key) == value:
            return Decision(True, f"namespace label {key}={value}")
    return Decision(False, f"namespace {pod.namespace} has no label {_MODE}=ambient or {_INJECTION}=enabled")
