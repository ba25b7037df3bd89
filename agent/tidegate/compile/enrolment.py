"""Which pods are in the mesh, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tidegate.model.kube import Namespace, Pod

_MODE = "istio.io/dataplane-mode"
_INJECTION = "istio-injection"
_INJECT = "sidecar.istio.io/inject"


class Enrolment(NamedTuple):
    """Whether a pod is in the mesh, and a phrase that says why (not)."""

    enrolled: bool
    reason: str


def enrolment(pod: Pod | None, namespace: Namespace | None) -> Enrolment:
    """Decide by labels; the pod's win over the namespace's."""
    if pod is None:
        return Enrolment(False, "its Pod object has not arrived from the configuration source")
    if pod.host_network:
        return Enrolment(False, "uses the host's network")
    if pod.labels.get(_MODE) == "none":
        return Enrolment(False, f"pod label {_MODE}=none")
    for where, values in (("label", pod.labels), ("annotation", pod.annotations)):
        if values.get(_INJECT) == "false":
            return Enrolment(False, f"pod {where} {_INJECT}=false")
    if pod.labels.get(_MODE) == "ambient":
        return Enrolment(True, f"pod label {_MODE}=ambient")
    labels: Mapping[str, str] = namespace.labels if namespace else {}
    if pod.labels.get(_INJECT) == "true" and _INJECTION not in labels:  # as Istio's webhook selects
        return Enrolment(True, f"pod label {_INJECT}=true")
    if labels.get(_MODE) == "none":
        return Enrolment(False, f"namespace label {_MODE}=none")
    for key, value in ((_MODE, "ambient"), (_INJECTION, "enabled")):
        if labels.get(key) == value:
            return Enrolment(True, f"namespace label {key}={value}")
    return Enrolment(False, f"namespace {pod.id.namespace} has no label {_MODE}=ambient or {_INJECTION}=enabled")
