"""Proto-JSON to bytes: once per content, and a broken one never stops the others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from tests.support.envoy_resources import cluster, endpoints, listener, resources, route

from tidegate.compile.envoy.prototypes import message_class
from tidegate.compile.outbound.scopes import scope
from tidegate.errors import Rejected
from tidegate.model.net import parse_ip
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, SCOPES, EnvoyResource, MadeOnDemand
from tidegate.xds.encode import Encoder


def test_each_content_is_parsed_once() -> None:
    encoder = Encoder()
    items = resources((CLUSTERS, cluster("a")), (ENDPOINTS, endpoints("a", 1)), (ROUTES, route("r", {"a": 1})))
    first = encoder.publish(1, items)
    assert encoder.parsed == 3
    second = encoder.publish(
        2, resources((CLUSTERS, cluster("a")), (ENDPOINTS, endpoints("a", 2)), (ROUTES, route("r", {"a": 1})))
    )
    assert encoder.parsed == 4
    assert second.all(CLUSTERS)["a"] is first.all(CLUSTERS)["a"]
    assert second.all(ENDPOINTS)["a"].version != first.all(ENDPOINTS)["a"].version


def test_versions_depend_on_content_alone() -> None:
    def version(**more: Any) -> str:
        body = cluster("a", **more).body
        mixed = EnvoyResource("a", dict(reversed(list(body.items()))))
        versions = {
            Encoder().publish(1, {CLUSTERS: {"a": r}}).all(CLUSTERS)["a"].version for r in (cluster("a", **more), mixed)
        }
        assert len(versions) == 1
        return versions.pop()

    assert version() != version(connect_timeout="9s")


def test_a_scope_is_encoded_as_any_other_body() -> None:
    made = scope(parse_ip("fd77::1"), 80, "web:80", ())
    encoded = Encoder().publish(1, {SCOPES: {made.name: made}}).all(SCOPES)[made.name]
    wanted: Any = ParseDict(dict(made.body), message_class("envoy.config.route.v3.ScopedRouteConfiguration")())
    assert encoded.data == wanted.SerializeToString(deterministic=True)
    odd = EnvoyResource(made.name, {**made.body, "route_configuration": {"name": "inline"}})
    image = Encoder().publish(1, {SCOPES: {made.name: odd}})
    assert (image.all(SCOPES), [r.name for r in image.broken]) == ({}, [made.name])


def test_what_is_wrong_is_told_again_with_each_generation() -> None:
    encoder, table = Encoder(), {"a": cluster("a", no_such_member=1)}
    for generation in (1, 2):
        assert [r.name for r in encoder.publish(generation, {CLUSTERS: table}).broken] == ["a"]
    good = {"a": cluster("a")}
    assert encoder.publish(3, {CLUSTERS: good}).all(CLUSTERS) is encoder.publish(4, {CLUSTERS: good}).all(CLUSTERS)


def test_moved_origins_do_not_change_the_version_but_are_reported() -> None:
    encoder = Encoder()
    first = encoder.publish(1, resources((CLUSTERS, cluster("a")))).all(CLUSTERS)["a"]
    moved = replace(cluster("a"), origins=(Origin("Service", "default", "a", "moved.yaml", 99),))
    second = encoder.publish(2, resources((CLUSTERS, moved))).all(CLUSTERS)["a"]
    assert second.version == first.version
    assert second.origins[0].file == "moved.yaml"
    assert encoder.parsed == 1


def test_a_body_that_does_not_parse_is_reported_and_keeps_the_last_good_one() -> None:
    encoder = Encoder()
    good = encoder.publish(1, resources((CLUSTERS, cluster("a")), (CLUSTERS, cluster("b"))))
    bad = encoder.publish(2, resources((CLUSTERS, cluster("a", no_such_member=1)), (CLUSTERS, cluster("b"))))
    assert bad.all(CLUSTERS) == good.all(CLUSTERS)
    [rejection] = bad.broken
    assert (rejection.kind, rejection.name, rejection.by) == (CLUSTERS, "a", "tidegate")
    assert "no_such_member" in rejection.detail
    assert "\n" not in rejection.detail
    assert rejection.origins[0].file == "web.yaml"


def test_a_new_body_that_does_not_parse_is_left_out() -> None:
    image = Encoder().publish(1, resources((CLUSTERS, cluster("a", type="NO_SUCH_TYPE")), (CLUSTERS, cluster("b"))))
    assert list(image.all(CLUSTERS)) == ["b"]
    assert [r.name for r in image.broken] == ["a"]


@pytest.mark.parametrize(
    "url",
    [
        "type.googleapis.com/envoy.no.such.Thing",
        "type.googleapis.com/os.path.Thing",
        "type.googleapis.com/envoy.config",
        "nonsense",
    ],
)
def test_an_unknown_extension_is_reported(url: str) -> None:
    extended = cluster("a", typed_extension_protocol_options={"x": {"@type": url}})
    [rejection] = Encoder().publish(1, resources((CLUSTERS, extended))).broken
    assert "is not a message that this agent knows" in rejection.detail


def test_a_resource_under_another_name_than_its_own_is_reported() -> None:
    wrong = EnvoyResource("a", {"name": "b"})
    [rejection] = Encoder().publish(1, {CLUSTERS: {"a": wrong}}).broken
    assert "is not the name 'a'" in rejection.detail


def test_a_resource_says_what_its_client_will_ask_for() -> None:
    image = Encoder().publish(1, resources((CLUSTERS, cluster("a")), (LISTENERS, listener("l", "/x", "r"))))
    assert image.all(CLUSTERS)["a"].awaits == ["a"]
    assert image.all(LISTENERS)["l"].awaits == ["r"]


def test_what_is_made_on_demand_is_encoded_when_it_is_asked_for() -> None:
    made: list[str] = []

    def make(name: str) -> EnvoyResource | None:
        made.append(name)
        return cluster(name) if name != "nobody" else None

    encoder = Encoder()
    image = encoder.publish(1, {CLUSTERS: MadeOnDemand(make)})
    assert (made, encoder.parsed) == ([], 0)
    found = image.get(CLUSTERS, "a")
    assert found is not None
    assert image.get(CLUSTERS, "nobody") is None
    assert (made, encoder.parsed) == (["a", "nobody"], 1)
    again = encoder.publish(2, {CLUSTERS: MadeOnDemand(make)})
    assert again.get(CLUSTERS, "a") is found
    assert encoder.parsed == 1


def test_only_generated_modules_may_be_imported_by_name() -> None:
    with pytest.raises(Rejected):
        message_class("subprocess.Popen")


def test_extensions_are_found_without_a_list_of_them() -> None:
    name = "envoy.extensions.filters.http.header_to_metadata.v3.Config"
    assert message_class(name).DESCRIPTOR.full_name == name
