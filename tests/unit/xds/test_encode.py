"""Proto-JSON to bytes: once per content, and a broken one never stops the others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.envoy_resources import cluster, endpoints, listener, resources, route

from tidegate.errors import Rejected
from tidegate.model.origin import Origin
from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, EnvoyResource
from tidegate.xds.encode import Encoder, content_version
from tidegate.xds.prototypes import message_class


def test_each_content_is_parsed_once() -> None:
    encoder = Encoder()
    items = resources((CLUSTERS, cluster("a")), (ENDPOINTS, endpoints("a", 1)), (ROUTES, route("r", {"a": 1})))
    first = encoder.encode(1, items)
    assert encoder.parsed == 3
    second = encoder.encode(
        2, resources((CLUSTERS, cluster("a")), (ENDPOINTS, endpoints("a", 2)), (ROUTES, route("r", {"a": 1})))
    )
    assert encoder.parsed == 4
    assert second.of(CLUSTERS)["a"] is first.of(CLUSTERS)["a"]
    assert second.of(ENDPOINTS)["a"].version != first.of(ENDPOINTS)["a"].version


def test_versions_depend_on_content_alone() -> None:
    assert content_version({"a": 1, "b": [1, {"c": 2}]}) == content_version({"b": [1, {"c": 2}], "a": 1})
    assert content_version({"a": 1}) != content_version({"a": 2})


def test_moved_origins_do_not_change_the_version_but_are_reported() -> None:
    encoder = Encoder()
    first = encoder.encode(1, resources((CLUSTERS, cluster("a")))).of(CLUSTERS)["a"]
    moved = replace(cluster("a"), origins=(Origin("Service", "default", "a", "moved.yaml", 99),))
    second = encoder.encode(2, resources((CLUSTERS, moved))).of(CLUSTERS)["a"]
    assert second.version == first.version
    assert second.origins[0].file == "moved.yaml"
    assert encoder.parsed == 1


def test_a_body_that_does_not_parse_is_reported_and_keeps_the_last_good_one() -> None:
    encoder = Encoder()
    good = encoder.encode(1, resources((CLUSTERS, cluster("a")), (CLUSTERS, cluster("b"))))
    bad = encoder.encode(2, resources((CLUSTERS, cluster("a", no_such_member=1)), (CLUSTERS, cluster("b"))))
    assert bad.of(CLUSTERS) == good.of(CLUSTERS)
    [rejection] = bad.broken
    assert (rejection.kind, rejection.name, rejection.by) == (CLUSTERS, "a", "tidegate")
    assert "no_such_member" in rejection.detail
    assert "\n" not in rejection.detail
    assert rejection.origins[0].file == "web.yaml"


def test_a_new_body_that_does_not_parse_is_left_out() -> None:
    image = Encoder().encode(1, resources((CLUSTERS, cluster("a", type="NO_SUCH_TYPE")), (CLUSTERS, cluster("b"))))
    assert list(image.of(CLUSTERS)) == ["b"]
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
    [rejection] = Encoder().encode(1, resources((CLUSTERS, extended))).broken
    assert "is not a message that this agent knows" in rejection.detail


def test_a_resource_under_another_name_than_its_own_is_reported() -> None:
    wrong = EnvoyResource("a", {"name": "b"})
    [rejection] = Encoder().encode(1, {CLUSTERS: {"a": wrong}}).broken
    assert "is not the name 'a'" in rejection.detail


def test_what_a_resource_makes_the_client_wait_for_exists_in_the_image() -> None:
    image = Encoder().encode(1, resources((CLUSTERS, cluster("a")), (LISTENERS, listener("l", "/x", "r"))))
    assert image.of(CLUSTERS)["a"].awaits == ("a",)
    assert image.of(LISTENERS)["l"].awaits == ("r",)
    assert image.of(ENDPOINTS)["a"].version == image.of(ROUTES)["r"].version == "empty"


def test_names_are_found_inside_packed_messages() -> None:
    encoded = Encoder().encode(1, resources((LISTENERS, listener("l", "/x", "some-route")))).of(LISTENERS)["l"]
    assert encoded.mentions("some-route")
    assert not encoded.mentions("other-route")


def test_only_generated_modules_may_be_imported_by_name() -> None:
    with pytest.raises(Rejected):
        message_class("subprocess.Popen")


def test_extensions_are_found_without_a_list_of_them() -> None:
    name = "envoy.extensions.filters.http.header_to_metadata.v3.Config"
    assert message_class(name).DESCRIPTOR.full_name == name
