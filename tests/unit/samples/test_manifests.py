"""The sample manifests and routes hold together: names that are used exist, commands can be run."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.lab import TIDEGATE
from tests.support.sample_service import SAMPLES

MANIFESTS = sorted(SAMPLES.glob("*/*.yaml"))
ROUTES = sorted(SAMPLES.glob("*/networking/*.yaml"))


def documents(*files: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for file in files:
        for document in yaml.safe_load_all(file.read_text()):
            yield file, document


def of_kind(kind: str, *files: Path) -> list[tuple[Path, dict[str, Any]]]:
    return [(file, document) for file, document in documents(*files) if document["kind"] == kind]


def destinations(node: Any) -> Iterator[dict[str, Any]]:
    """Every `destination` anywhere below a route."""
    if isinstance(node, dict):
        if "destination" in node:
            yield node["destination"]
        for value in node.values():
            yield from destinations(value)
    elif isinstance(node, list):
        for value in node:
            yield from destinations(value)


def short(host: str) -> str:
    return host.removesuffix(".default.svc.cluster.local")


@pytest.mark.parametrize("file", MANIFESTS + ROUTES, ids=lambda file: str(file.relative_to(SAMPLES)))
def test_two_lines_say_what_to_expect_and_how_to_see_it(file: Path) -> None:
    first, second, third = file.read_text().splitlines()[:3]
    assert first.startswith("# ")
    assert second.startswith("# ")
    assert re.search(r"\btidegate (lab|services|pods)\b", first + second)
    assert not third.startswith("#")


@pytest.mark.parametrize(
    "deployment", [d for _, d in of_kind("Deployment", *MANIFESTS)], ids=lambda d: d["metadata"]["name"]
)
def test_a_deployment_can_be_run(deployment: dict[str, Any]) -> None:
    file = next(f for f, d in of_kind("Deployment", *MANIFESTS) if d == deployment)
    pod = deployment["spec"]["template"]
    wanted = deployment["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= pod["metadata"]["labels"].items()
    accounts = {d["metadata"]["name"] for _, d in of_kind("ServiceAccount", file)}
    assert pod["spec"]["serviceAccountName"] in accounts
    (container,) = pod["spec"]["containers"]
    here = {"$(LAB_MANIFEST_DIR)": str(file.parent)}
    paths = [*container["command"], *(e["value"] for e in container.get("env", []) if e["name"] == "PYTHONPATH")]
    for text in paths:
        path = text.replace("$(LAB_MANIFEST_DIR)", here["$(LAB_MANIFEST_DIR)"])
        assert not path.startswith("/") or os.path.exists(path), path


def test_every_service_selects_a_deployment_and_declares_its_protocol() -> None:
    pods = [d["spec"]["template"]["metadata"]["labels"] for _, d in of_kind("Deployment", *MANIFESTS)]
    ports = {}
    for _, service in of_kind("Service", *MANIFESTS):
        assert any(service["spec"]["selector"].items() <= labels.items() for labels in pods)
        ports[service["metadata"]["name"]] = [port["name"] for port in service["spec"]["ports"]]
    assert ports == {
        **{name: ["http"] for name in ("productpage", "details", "reviews", "ratings")},
        "httpbin": ["http", "tcp"],
        "istio-ingressgateway": ["http2", "https", "tcp", "tls"],
    }


def test_routes_lead_to_services_and_subsets_that_exist() -> None:
    services = {d["metadata"]["name"] for _, d in of_kind("Service", *MANIFESTS)}
    subsets = {
        (short(d["spec"]["host"]), subset["name"]): subset["labels"]
        for _, d in of_kind("DestinationRule", *ROUTES)
        for subset in d["spec"]["subsets"]
    }
    pods = [d["spec"]["template"]["metadata"]["labels"] for _, d in of_kind("Deployment", *MANIFESTS)]
    for (host, _), labels in subsets.items():
        assert any(({"app": host} | labels).items() <= pod.items() for pod in pods)
    for file, route in of_kind("VirtualService", *ROUTES):
        of_mesh = "gateways" not in route["spec"]  # at a gateway hosts are what browsers ask for
        assert not of_mesh or {short(host) for host in route["spec"]["hosts"]} <= services, file
        for http in route["spec"]["http"]:
            ways = http.get("route", [])
            assert bool(ways) != ("redirect" in http), file
            assert len(ways) < 2 or sum(way["weight"] for way in ways) == 100, file
        for destination in destinations(route["spec"]):
            assert short(destination["host"]) in services, file
            assert "subset" not in destination or (short(destination["host"]), destination["subset"]) in subsets, file


def test_a_route_replaces_the_one_before_it_for_the_same_host() -> None:
    """Two VirtualServices for one host would compete; files for one host share its name instead."""
    for file, route in of_kind("VirtualService", *ROUTES):
        assert "gateways" in route["spec"] or route["spec"]["hosts"] == [route["metadata"]["name"]], file


def test_all_three_api_versions_are_in_use() -> None:
    seen = {document["apiVersion"] for _, document in documents(*ROUTES)}
    assert seen == {f"networking.istio.io/{version}" for version in ("v1alpha3", "v1beta1", "v1")}


@pytest.mark.parametrize("file", [None, *ROUTES], ids=lambda file: str(file.relative_to(SAMPLES)) if file else "none")
def test_our_own_validator_has_nothing_to_say(file: Path | None) -> None:
    rules = SAMPLES / "bookinfo/networking/destination-rules.yaml"
    files = [*MANIFESTS, rules, *([file] if file and file != rules else [])]
    words = [word for path in files for word in ("-f", str(path))]
    done = subprocess.run([TIDEGATE, "validate", *words, "-o", "json"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == []
