from __future__ import annotations

import pytest

from tidegate.errors import Rejected
from tidegate.model.names import WorkloadId
from tidegate_lab.addresses import MAX_NODES, PODS4, PODS6, node_addresses, pod_ranges
from tidegate_lab.paths import LabPaths


def test_no_labs_prefix_begins_anothers() -> None:
    assert not LabPaths.of("lab2").netns_prefix.startswith(LabPaths.of("lab").netns_prefix)
    for name in ("lab-2", "", "Lab", "2lab", "a" * 13, "a/b"):
        with pytest.raises(Rejected, match="not usable"):
            LabPaths.of(name)


def test_sockets_fit_into_a_unix_address() -> None:
    paths = LabPaths.of("a" * 12)
    assert len(str(paths.node_run(f"node{MAX_NODES}") / "envoy" / "admin.sock.new")) < 108


def test_every_sandbox_has_a_name_of_its_own() -> None:
    paths = LabPaths.of("lab")
    one, two = WorkloadId("a-b", "c"), WorkloadId("a", "b-c")
    assert paths.pod_netns(one, "0" * 64) != paths.pod_netns(two, "0" * 64)
    assert paths.pod_netns(one, "0" * 64) != paths.pod_netns(one, "1" * 64)


def test_pod_ranges_are_apart() -> None:
    ranges = [pod_ranges(index) for index in range(1, MAX_NODES + 1)]
    assert len({four for four, _ in ranges} | {six for _, six in ranges}) == 2 * MAX_NODES
    assert all(four.subnet_of(PODS4) and six.subnet_of(PODS6) for four, six in ranges)
    assert len({node_addresses(index) for index in range(1, MAX_NODES + 1)}) == MAX_NODES
