"""Listeners inside pods."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tests.support.configs import ENROLLED, config_of, pod, sandbox, service

from tidegate.compile.compiler import compile_plan
from tidegate.compile.facts import join
from tidegate.model.capture import CAPTURE4_ENVOY, CAPTURE6_ENVOY
from tidegate.model.plan.envoy import LISTENERS

WEB, HEADS = "web.default.svc.cluster.local:80", "heads.default.svc.cluster.local:8000"
HEADER = Path(__file__).parents[4] / "bpf" / "include" / "tg_capture.h"


def listener(v6: bool = False) -> dict[str, Any]:
    config = config_of(
        ENROLLED,
        service("web", "http:80", "tcp:81", ips="10.96.0.1,fd00::1"),
        service("heads", "http:8000", ips="None", selector="app: web"),
        pod("client", "app: client", "10.244.0.9"),
        pod("web", "app: web", "10.244.0.1"),
    )
    snapshot = compile_plan(join(config, [sandbox("client", cookie=77, v6=v6)]))
    ((name, resource),) = snapshot.envoy[LISTENERS].items()
    assert name == snapshot.pods[0].listener == "outbound|default/client|77"
    return dict(resource.body)


def test_capture_addresses_are_those_of_the_kernel_programs() -> None:
    defined = dict(re.findall(r'#define (TG_CAPTURE\d_ENVOY_IP) "(.*)"', HEADER.read_text()))
    assert defined == {"TG_CAPTURE4_ENVOY_IP": str(CAPTURE4_ENVOY), "TG_CAPTURE6_ENVOY_IP": str(CAPTURE6_ENVOY)}


def test_addresses_inside_the_pod() -> None:
    assert listener()["address"]["socket_address"] == {
        "address": "127.77.0.2",
        "port_value": 15002,
        "network_namespace_filepath": "/run/netns/client",
    }
    assert "additional_addresses" not in listener()
    assert listener(v6=True)["freebind"], "the v6 capture prefix is no address of any interface"
    (second,) = listener(v6=True)["additional_addresses"]
    assert second["address"]["socket_address"]["address"] == "fd74:6964:6567:6174::2"
    assert second["address"]["socket_address"]["port_value"] == 15004


def test_envoy_counts_each_pod_under_its_own_name() -> None:
    assert listener()["stat_prefix"] == listener()["name"]


def test_one_filter_chain_whatever_services_there_are() -> None:
    made = listener()
    assert [f["name"] for f in made["listener_filters"]] == ["envoy.filters.listener.original_dst"]
    (chain,) = made["filter_chains"]
    assert [f["name"] for f in chain["filters"]] == [
        "envoy.filters.network.connection_limit",
        "envoy.filters.network.set_filter_state",
        "envoy.filters.network.http_connection_manager",
    ]
    assert "web.default" not in str(made)
    assert "10.96.0.1" not in str(made)


def test_routes_are_found_by_what_was_dialled_and_by_who_dialled() -> None:
    manager = listener()["filter_chains"][0]["filters"][-1]["typed_config"]
    (extension,) = manager["early_header_mutation_extensions"]
    mutations = [m["append"] for m in extension["typed_config"]["mutations"]]
    assert {m["header"]["key"]: m["header"]["value"] for m in mutations} == {
        "x-tidegate-dialled": "%DOWNSTREAM_LOCAL_ADDRESS%",
        "x-tidegate-virtual-host": "default/client]%REQUEST_HEADER(:AUTHORITY)%",
        "x-forwarded-for": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
    }
    ours = {m["append_action"] for m in mutations if m["header"]["key"] != "x-forwarded-for"}
    assert ours == {"OVERWRITE_IF_EXISTS_OR_ADD"}, "a pod cannot say them itself"
    (fragment,) = manager["scoped_routes"]["scope_key_builder"]["fragments"]
    assert fragment["header_value_extractor"]["name"] == "x-tidegate-dialled"
    assert manager["scoped_routes"]["scoped_rds"]["scoped_rds_config_source"]["ads"] == {}


@pytest.mark.case("C9")
def test_what_a_pod_asks_leaves_from_its_own_namespace() -> None:
    made = listener()
    state, _ = made["filter_chains"][0]["filters"][1]["typed_config"]["on_new_connection"]
    assert state["object_key"] == "envoy.network.upstream_bind_override.network_namespace"
    said = state["format_string"]["text_format_source"]["inline_string"]
    assert said == made["address"]["socket_address"]["network_namespace_filepath"]


def test_connection_manager() -> None:
    manager = listener()["filter_chains"][0]["filters"][-1]["typed_config"]
    assert {"upgrade_type": "websocket"} in manager["upgrade_configs"]
    assert [f["name"] for f in manager["http_filters"]] == [
        "envoy.filters.http.on_demand",
        "envoy.filters.http.fault",
        "envoy.filters.http.cors",
        "envoy.filters.http.router",
    ]
