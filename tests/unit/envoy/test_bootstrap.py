"""The bootstrap parses as Envoy's own message and says what it must."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from google.protobuf.json_format import ParseDict

from tidegate.envoy.bootstrap import bootstrap
from tidegate.envoy.supervisor import connection_limit
from tidegate.supervise.files import write_private
from tidegate.xds.prototypes import load_nested_types, message_class


def parsed() -> Any:
    body = bootstrap(
        node_id="node1", xds_socket=Path("/run/x/xds.sock"), admin_socket=Path("/run/x/admin.sock"), max_connections=9
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


def test_files_are_private_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "bootstrap.json"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, {"a": 1})
    assert json.loads(path.read_text()) == {"a": 1}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["bootstrap.json"]
