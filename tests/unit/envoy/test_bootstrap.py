"""The bootstrap parses as Envoy's own message and says what it must."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from tidegate.compile.envoy import bounds
from tidegate.compile.envoy.prototypes import load_nested_types, message_class
from tidegate.envoy.bootstrap import MIB, bootstrap, heap_limit, memory_limit
from tidegate.envoy.supervisor import connection_limit
from tidegate.supervise.files import write_private


def parsed() -> Any:
    body = bootstrap(
        node_id="node1",
        xds_socket=Path("/run/x/xds.sock"),
        admin_socket=Path("/run/x/admin.sock"),
        max_connections=9,
        max_heap=600 * MIB,
    )
    load_nested_types(body)
    return ParseDict(body, message_class("envoy.config.bootstrap.v3.Bootstrap")())


def test_it_names_the_node_and_takes_everything_from_ads() -> None:
    message = parsed()
    assert message.node.id == "node1"
    assert message.dynamic_resources.HasField("lds_config")
    assert message.dynamic_resources.cds_config.HasField("ads")
    assert message.dynamic_resources.ads_config.api_type == message.dynamic_resources.ads_config.DELTA_GRPC
    assert len(message.stats_sinks) == 0


def test_ads_goes_over_the_unix_socket_with_http2() -> None:
    [cluster] = parsed().static_resources.clusters
    assert cluster.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.pipe.path == "/run/x/xds.sock"
    assert list(cluster.typed_extension_protocol_options)


def test_admin_is_a_private_unix_socket() -> None:
    address = parsed().admin.address
    assert (address.pipe.path, address.pipe.mode) == ("/run/x/admin.sock", 0o600)


def test_a_new_agent_is_found_again_at_once() -> None:
    [service] = parsed().dynamic_resources.ads_config.grpc_services
    backoff = service.envoy_grpc.retry_policy.retry_back_off
    assert backoff.max_interval.ToMilliseconds() <= 500


def test_each_connection_has_room_for_its_upstream() -> None:
    assert connection_limit(20_000) * 2 < 20_000
    assert connection_limit(100) == 64


@pytest.mark.case("C5")
def test_the_heap_is_a_share_of_the_memory() -> None:
    assert heap_limit(1024 * MIB) == 512 * MIB, "a small node's Envoy has room for a large cluster"
    assert heap_limit(8192 * MIB) == heap_limit(8191 * MIB + 1) + 64 * MIB == 2048 * MIB
    assert heap_limit(2**40) == 4096 * MIB


def test_the_cgroup_has_room_for_the_heap_and_the_kernels_buffers() -> None:
    assert memory_limit(512 * MIB) == 1024 * MIB
    assert memory_limit(4096 * MIB) == 6400 * MIB


@pytest.mark.case("C5")
def test_the_streams_that_hold_the_heap_go_before_anybody_is_refused() -> None:
    manager = parsed().overload_manager
    (heap,) = [m for m in manager.resource_monitors if m.name.endswith("fixed_heap")]
    assert str(600 * MIB).encode() in bytes(str(_unpacked(heap.typed_config)), "ascii")
    begins = {a.name.rpartition(".")[2]: a.triggers[0] for a in manager.actions}
    assert {t.name for t in begins.values()} == {heap.name}
    first = begins.pop("reset_high_memory_stream").scaled
    assert first.scaling_threshold < min(t.threshold.value for t in begins.values())
    assert first.saturation_threshold > max(t.threshold.value for t in begins.values()), "else it stops resetting"
    assert 2**manager.buffer_factory_config.minimum_account_to_track_power_of_two < bounds.STREAM_WINDOW


def _unpacked(value: Any) -> Any:
    message: Any = message_class(value.type_url.rpartition("/")[2])()
    value.Unpack(message)
    return message


def test_files_are_private_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "bootstrap.json"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, {"a": 1})
    assert json.loads(path.read_text()) == {"a": 1}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["bootstrap.json"]
