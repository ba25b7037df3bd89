"""Who is in the mesh."""

from __future__ import annotations

import pytest

from tidegate.compile.enrolment import enrolment
from tidegate.model.kube import Namespace, Pod
from tidegate.model.names import WorkloadId

AMBIENT = {"istio.io/dataplane-mode": "ambient"}
INJECTION = {"istio-injection": "enabled"}


@pytest.mark.parametrize(
    ("namespace", "labels", "annotations", "enrolled"),
    [
        ({}, {}, {}, False),
        (AMBIENT, {}, {}, True),
        (INJECTION, {}, {}, True),
        ({"istio-injection": "disabled"}, {}, {}, False),
        (AMBIENT, {"istio.io/dataplane-mode": "none"}, {}, False),
        (INJECTION, {"sidecar.istio.io/inject": "false"}, {}, False),
        (INJECTION, {}, {"sidecar.istio.io/inject": "false"}, False),
        (INJECTION, {}, {"sidecar.istio.io/inject": "true"}, True),
        ({}, AMBIENT, {}, True),
        ({}, {"sidecar.istio.io/inject": "true"}, {}, True),
        ({"istio-injection": "disabled"}, {"sidecar.istio.io/inject": "true"}, {}, False),
        ({}, {"sidecar.istio.io/inject": "true", "istio.io/dataplane-mode": "none"}, {}, False),
        ({}, {}, {"sidecar.istio.io/inject": "true"}, False),
        ({**INJECTION, "istio.io/dataplane-mode": "none"}, {}, {}, False),
    ],
)
def test_labels(namespace: dict[str, str], labels: dict[str, str], annotations: dict[str, str], enrolled: bool) -> None:
    pod = Pod(WorkloadId("ns", "p"), labels=labels, annotations=annotations)
    got, reason = enrolment(pod, Namespace("ns", namespace))
    assert got is enrolled
    assert reason


def test_unknown_and_host_network_pods() -> None:
    assert enrolment(None, Namespace("ns", AMBIENT))[0] is False
    assert enrolment(Pod(WorkloadId("ns", "p"), host_network=True), Namespace("ns", AMBIENT))[0] is False
    assert enrolment(Pod(WorkloadId("ns", "p")), None)[0] is False
