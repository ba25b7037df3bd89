"""Fields of Services and Pods that decide which endpoint a client gets, on two nodes."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator

import pytest
from tests.support.eventually import eventually
from tests.support.lab import MANIFESTS, Lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab("fields")
    lab.up(MANIFESTS / "fields.yaml", nodes=2)
    yield lab
    lab.down()


@pytest.mark.case("D4")
def test_a_target_port_may_be_named_by_a_sidecar(lab: Lab) -> None:
    assert lab.dial("client", "guarded", 443)["server"]["port"] == 9443


@pytest.mark.case("D4")
def test_of_ports_of_one_name_the_one_of_the_services_protocol_is_meant(lab: Lab) -> None:
    assert lab.dial("client", "names", 53)["server"]["port"] == 5354


@pytest.mark.case("D4")
def test_a_service_whose_port_a_sidecar_names_can_be_exposed(lab: Lab) -> None:
    url = lab.tidegate("lab", "expose", "svc/guarded", "443").stdout.strip()
    port = re.fullmatch(r"http://127\.0\.0\.1:(\d+)", url)
    assert port, url
    talk = ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port[1]}; echo who >&3; cat <&3"]
    answer = eventually(lambda: subprocess.run(talk, capture_output=True, text=True, check=True).stdout, "an answer")
    assert json.loads(answer)["port"] == 9443
