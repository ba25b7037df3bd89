"""Listeners inside pods."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.support.configs import ENROLLED, config_of, pod, sandbox, service

from tidegate.compile.compiler import compile_plan
from tidegate.compile.facts import join
from tidegate.model.capture import CAPTURE4_ENVOY, CAPTURE6_ENVOY
from tidegate.model.plan.envoy import LISTENERS

WEB, HEADS = "web.default.svc.cluster.local:80", "heads.default.svc.cluster.local:8000"
HEADER = Path(__file__).parents[3] / "bpf" / "include" / "tg_capture.h"


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


def test_one_filter_chain_per_http_port() -> None:
    made = listener()
    assert [f["name"] for f in made["listener_filters"]] == ["envoy.filters.listener.original_dst"]
    assert [c["name"] for c in made["filter_chains"]] == [WEB, HEADS]
    assert made["default_filter_chain"]["filters"][0]["typed_config"]["cluster"] == "PassthroughCluster"


def test_port_and_address_choose_the_filter_chain() -> None:
    """Beside the chains, not in them: a chain whose text changes loses its connections."""
    made = listener()
    assert set(made["filter_chains"][0]) == {"name", "filters"}
    ports = made["filter_chain_matcher"]["matcher_tree"]["exact_match_map"]["map"]
    found = {}
    for port, match in ports.items():
        for row in match["matcher"]["matcher_tree"]["custom_match"]["typed_config"]["range_matchers"]:
            for block in row["ranges"]:
                chain = row["on_match"]["action"]["typed_config"]["value"]
                found[f"{block['address_prefix']}/{block['prefix_len']} {port}"] = chain
    assert found == {"10.96.0.1/32 80": WEB, "fd00::1/128 80": WEB, "10.244.0.1/32 8000": HEADS}


def test_connection_manager() -> None:
    manager = listener()["filter_chains"][0]["filters"][0]["typed_config"]
    assert manager["use_remote_address"] is True
    assert manager["rds"]["config_source"]["ads"] == {}
    assert manager["upgrade_configs"] == [{"upgrade_type": "websocket"}]
    assert [f["name"] for f in manager["http_filters"]] == [
        "envoy.filters.http.fault",
        "envoy.filters.http.cors",
        "envoy.filters.http.router",
    ]
