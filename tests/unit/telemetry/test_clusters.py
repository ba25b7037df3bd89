"""Sources that are API servers, as metrics."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from tidegate.telemetry.metrics import ClusterCollector, exposition


def told(*status: dict[str, object]) -> str:
    registry = CollectorRegistry()
    registry.register(ClusterCollector(lambda: status))
    return exposition(registry).decode()


def kind(resource: str, objects: int, state: str = "current") -> dict[str, object]:
    return {"resource": resource, "objects": objects, "state": state}


def test_how_old_and_how_much() -> None:
    kinds = [kind("pods", 7), kind("secrets edge/a", 1), kind("secrets edge/b", 1, "denied")]
    one = {"source": "kube", "in_sync": True, "age_seconds": 3.5, "not_installed": ["x", "y"], "kinds": kinds}
    lines = told(one).splitlines()
    for line in (
        'tidegate_source_age_seconds{source="kube"} 3.5',
        'tidegate_source_in_sync{source="kube"} 1.0',
        'tidegate_source_objects{resource="pods",source="kube"} 7.0',
        'tidegate_source_objects{resource="secrets",source="kube"} 2.0',
        'tidegate_source_kinds{source="kube",state="current"} 2.0',
        'tidegate_source_kinds{source="kube",state="denied"} 1.0',
        'tidegate_source_kinds{source="kube",state="not installed"} 2.0',
    ):
        assert line in lines
    assert not any("edge" in line for line in lines)


def test_without_a_cluster_nothing_is_counted() -> None:
    assert all(line.startswith("#") for line in told().splitlines())
