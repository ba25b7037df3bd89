"""Names of the cluster's DNS: from objects as an API server tells them, whole at every moment."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest
from tests.kube.names import Followed, zone


def named(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default", **more.pop("metadata", {})}, **more}


def slice_of(service: str, *endpoints: dict[str, Any]) -> dict[str, Any]:
    labels = {"labels": {"kubernetes.io/service-name": service}}
    return named(f"{service}-abc", metadata=labels, endpoints=list(endpoints) or None)


WEB = named("web", spec={"clusterIPs": ["10.96.0.7"]})
EACH = named("each", spec={"clusterIPs": ["None"]})
READY = {"addresses": ["10.244.0.2"], "conditions": {"ready": True}, "hostname": "first"}
LATE = {"addresses": ["10.244.0.3"], "conditions": {"ready": False}}
DEFAULT = {"metadata": {"name": "default"}}
END = {"metadata": {"annotations": {"k8s.io/initial-events-end": "true"}}}


def values(found: Any, name: str) -> list[str]:
    return [record.value for record in found.answer(f"{name}.default.svc.cluster.local", "A", True).records]


def test_services_are_their_addresses_and_headless_ones_their_ready_pods() -> None:
    found = zone([WEB, EACH], [slice_of("web", READY), slice_of("each", READY, LATE), slice_of("none")], [DEFAULT])
    assert values(found, "web") == ["10.96.0.7"]
    assert values(found, "each") == ["10.244.0.2"]
    assert values(found, "first.each") == ["10.244.0.2"]
    assert found.answer("other.default.svc.cluster.local", "A", True).code == 3


def tell(followed: Followed, kind: str, *events: tuple[str, Any], listed: Any = None) -> Any:
    for what, one in events:
        listed = followed._take(kind, json.loads(json.dumps({"type": what, "object": one})), listed)
    return listed


def test_a_list_counts_when_it_is_whole_and_changes_at_once() -> None:
    followed = Followed()
    listed = tell(followed, "services", ("ADDED", WEB), listed={})
    assert values(followed.zone(), "web") == []
    listed = tell(followed, "services", ("BOOKMARK", END), listed=listed)
    assert values(followed.zone(), "web") == ["10.96.0.7"]
    listed = tell(followed, "services", ("BOOKMARK", {"metadata": {}}), listed=listed)
    moved = named("web", spec={"clusterIPs": ["10.96.0.8"]})
    listed = tell(followed, "services", ("MODIFIED", moved), listed=listed)
    assert values(followed.zone(), "web") == ["10.96.0.8"]
    tell(followed, "services", ("DELETED", moved), listed=listed)
    assert values(followed.zone(), "web") == []


def test_a_stream_that_begins_anew_forgets_what_is_gone_and_nothing_else() -> None:
    followed = Followed()
    tell(
        followed,
        "services",
        ("ADDED", WEB),
        ("ADDED", named("old", spec={"clusterIPs": ["10.96.0.9"]})),
        ("BOOKMARK", END),
        listed={},
    )
    listed = tell(followed, "services", ("ADDED", WEB), listed={})
    assert values(followed.zone(), "old") == ["10.96.0.9"]
    tell(followed, "services", ("BOOKMARK", END), listed=listed)
    assert values(followed.zone(), "old") == []
    assert values(followed.zone(), "web") == ["10.96.0.7"]
    with pytest.raises(aiohttp.ClientError, match="too old"):
        tell(followed, "services", ("ERROR", {"message": "too old resource version"}), listed=None)
