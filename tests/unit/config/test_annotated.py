"""Annotations that ask for something that is not done are named, and docs/fields.md lists them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.configs import config_of, pod, service

from tidegate.config.shapes.annotated import DISTRIBUTION, OF_PODS, OF_SERVICES
from tidegate.model.kube import Near

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "fields.md").read_text()
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec: {containers: [{name: c}]}
"""


def with_annotation(text: str, name: str, value: str) -> str:
    return text.replace("labels: {a: b}", f"labels: {{a: b}}, annotations: {{{name}: {value!r}}}")


@pytest.mark.parametrize("name", [*OF_PODS, *OF_SERVICES])
def test_an_annotation_that_asks_for_what_is_not_done_is_named(name: str) -> None:
    if name in OF_PODS:
        texts = [with_annotation(t, name, "{}") for t in (pod("p", "a: b", "10.0.0.1"), DEPLOYMENT)]
    else:
        texts = [service("s", "http:80").replace("name: s,", f"name: s, annotations: {{{name}: Auto}},")]
    for text in texts:
        assert name in text
        (problem,) = config_of(text).problems
        assert (problem.code, problem.path.endswith(f"annotations.{name}")) == ("TG0128", True), problem
        assert not config_of(text.replace("'{}'", "''").replace("Auto", "disabled")).problems
    assert f"`{name}`" in PAGE


def test_istios_word_for_the_distribution_counts_where_the_service_has_none() -> None:
    def near(value: str, spec: str = "") -> Near:
        text = service("s", "tcp:80", ips="10.96.0.1", spec=spec)
        (found,) = config_of(text.replace("name: s,", f"name: s, annotations: {{{DISTRIBUTION}: {value}}},")).services
        return found.near

    assert near("PreferSameNode") is Near.NODE_FIRST
    assert near("PreferSameNode", "trafficDistribution: PreferClose") is Near.ZONE_FIRST
    assert near("PreferMoon") is Near.ANY
    text = service("s", "tcp:80").replace("name: s,", f"name: s, annotations: {{{DISTRIBUTION}: PreferMoon}},")
    assert [(p.code, p.path) for p in config_of(text).problems] == [("TG0121", f"metadata.annotations.{DISTRIBUTION}")]
    assert f"`{DISTRIBUTION}`" in PAGE
