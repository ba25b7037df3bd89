"""One message merged into another: what wins, what grows, what is replaced whole."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.compile.envoy.patches.merging import merge
from tidegate.compile.envoy.patches.values import message_of, to_json
from tidegate.errors import Rejected

CLUSTER = "envoy.config.cluster.v3.Cluster"
FILTER = "envoy.config.listener.v3.Filter"
ECHO = {"@type": "type.googleapis.com/envoy.extensions.filters.network.echo.v3.Echo"}
TCP = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"


def merged(kind: str, into: dict[str, Any], patch: dict[str, Any], *, replace: bool = False) -> dict[str, Any]:
    message = message_of(kind, into)
    merge(message, message_of(kind, patch), replace_lists=replace)
    return to_json(message)


def test_what_is_set_wins_and_the_rest_stays() -> None:
    assert merged(CLUSTER, {"name": "a", "alt_stat_name": "b"}, {"alt_stat_name": "c"}) == {
        "name": "a",
        "alt_stat_name": "c",
    }


def test_a_duration_is_replaced_whole() -> None:
    assert merged(CLUSTER, {"connect_timeout": "1.500s"}, {"connect_timeout": "2s"}) == {"connect_timeout": "2s"}


def test_a_false_that_is_written_counts() -> None:
    into = {"outlier_detection": {"enforcing_consecutive_5xx": 100, "split_external_local_origin_errors": True}}
    patch = {"outlier_detection": {"enforcing_consecutive_5xx": 0}}
    assert merged(CLUSTER, into, patch)["outlier_detection"] == {
        "enforcing_consecutive_5xx": 0,
        "split_external_local_origin_errors": True,
    }


def test_of_two_members_that_exclude_each_other_the_newer_stays() -> None:
    made = merged("envoy.config.route.v3.RouteMatch", {"prefix": "/"}, {"path": "/a"})
    assert made == {"path": "/a"}


def test_lists_grow_or_are_replaced() -> None:
    into, patch = {"request_headers_to_remove": ["a"]}, {"request_headers_to_remove": ["b"]}
    kind = "envoy.config.route.v3.VirtualHost"
    assert merged(kind, into, patch) == {"request_headers_to_remove": ["a", "b"]}
    assert merged(kind, into, patch, replace=True) == {"request_headers_to_remove": ["b"]}


def test_the_entry_of_a_map_is_replaced() -> None:
    meta = {"metadata": {"filter_metadata": {"a": {"x": 1}, "b": {"x": 1}}}}
    patch = {"metadata": {"filter_metadata": {"a": {"y": 2}}}}
    assert merged(CLUSTER, meta, patch)["metadata"]["filter_metadata"] == {"a": {"y": 2}, "b": {"x": 1}}


def test_what_a_filter_is_configured_by_is_merged_inside() -> None:
    into = {"name": "t", "typed_config": {"@type": TCP, "stat_prefix": "a", "cluster": "c"}}
    made = merged(FILTER, into, {"typed_config": {"@type": TCP, "idle_timeout": "5s"}})
    assert made["typed_config"] == {"@type": TCP, "stat_prefix": "a", "cluster": "c", "idle_timeout": "5s"}


def test_two_messages_of_different_kinds_are_not_merged() -> None:
    into = {"name": "t", "typed_config": {"@type": TCP, "stat_prefix": "a", "cluster": "c"}}
    with pytest.raises(Rejected, match=r"Echo: cannot be merged into a .*TcpProxy"):
        merged(FILTER, into, {"typed_config": ECHO})
