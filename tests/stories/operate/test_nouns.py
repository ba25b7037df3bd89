"""`tidegate pods` and `tidegate services`: what the kernel's tables hold, with names."""

from __future__ import annotations

import json
from typing import Any

from tests.support.eventually import eventually
from tests.support.lab import Lab


def rows(lab: Lab, noun: str) -> list[dict[str, Any]]:
    listed = lab.tidegate(noun, "-o", "json", "--run-dir", lab.node_dirs()[0]).stdout
    value: list[dict[str, Any]] = json.loads(listed)
    return value


def only(lab: Lab, *names: str) -> dict[str, dict[str, Any]]:
    """The rows of pods by name, once there are these."""
    found = {row["name"]: row for row in rows(lab, "pods")}
    assert set(found) == set(names)
    return found


def test_enrolled_pods_are_there_guarded_and_with_their_addresses(probe_lab: Lab) -> None:
    found = eventually(lambda: only(probe_lab, "client", "server"), "pods of earlier stories have gone")
    for name, row in found.items():
        assert row["guarded"], name
        assert [row["ip4"], row["ip6"]] == probe_lab.pods()[f"default/{name}"]["ips"]
        assert 0 not in (row["fastpath4"], row["fastpath6"]), name


def test_services_name_their_tier_and_where_it_leads(probe_lab: Lab, web_lab: Lab) -> None:
    server = probe_lab.address("default/server", "4")
    by_port = {row["port"]: row for row in rows(probe_lab, "services") if "." in row["address"]}
    assert (by_port[7000]["tier"], by_port[7000]["service"]) == ("fastpath", "talk.default.svc.cluster.local:7000")
    assert by_port[7000]["endpoints"] == [f"{server}:7001"]
    assert by_port[0]["tier"] == "direct"
    web = {row["port"]: row for row in rows(web_lab, "services")}
    assert (web[80]["tier"], web[80]["service"]) == ("envoy", "web.default.svc.cluster.local:80")
