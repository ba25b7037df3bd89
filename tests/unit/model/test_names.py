"""The cluster's domain: one declaration, and every name that is made from it follows the setting."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from tests.support.configs import ENROLLED, destination_rule, pod, service, virtual_service
from typer.testing import CliRunner

from tidegate.cli import compile as compile_command
from tidegate.errors import Rejected
from tidegate.model.hosts import in_cluster, resolve_host
from tidegate.model.names import ServiceName, cluster_domain, search_domains, use_cluster_domain

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def default_again() -> Iterator[None]:
    yield
    use_cluster_domain("")


def test_names_end_with_the_domain_that_is_set() -> None:
    use_cluster_domain("Prod.Example.")
    assert cluster_domain() == "prod.example"
    assert str(ServiceName("shop", "web")) == "web.shop.svc.prod.example"
    assert resolve_host("web", "shop") == "web.shop.svc.prod.example"
    assert search_domains("shop") == ("shop.svc.prod.example", "svc.prod.example", "prod.example")
    assert in_cluster("web.shop.svc.prod.example")
    assert not in_cluster("web.shop.svc.cluster.local"), "a name of elsewhere"


def test_without_a_setting_it_is_kubelets() -> None:
    use_cluster_domain("prod.example")
    use_cluster_domain("")
    assert cluster_domain() == "cluster.local"


@pytest.mark.parametrize("text", ["a..b", "-a", "a_b", "a b", ".", "a" * 64, "a." * 100 + "b"])
def test_what_is_no_domain_is_refused_and_nothing_changes(text: str) -> None:
    with pytest.raises(Rejected, match=r"--cluster-domain .* is no domain name"):
        use_cluster_domain(text)
    assert cluster_domain() == "cluster.local"


def test_compile_takes_rules_for_full_names_of_that_domain(tmp_path: Path) -> None:
    full = "web.default.svc.prod.example"
    rule = virtual_service("v", full, f"- route: [{{destination: {{host: {full}, subset: v2}}}}]")
    subsets = destination_rule("d", full, "subsets: [{name: v2, labels: {version: v2}}]")
    texts = [ENROLLED, service("web", "http:80"), pod("web-1", "app: web, version: v2"), rule, subsets]
    (tmp_path / "all.yaml").write_text("---".join(texts))
    app = typer.Typer()
    compile_command.register(app)
    given = ["-f", str(tmp_path), "--cluster-domain", "prod.example", "-o", "json"]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    assert "|v2|web.default.svc.prod.example" in json.dumps(json.loads(result.stdout)["routes"])
    assert "cluster.local" not in result.stdout


def test_the_domain_is_declared_once() -> None:
    places = [*(ROOT / "agent" / "tidegate").rglob("*.py"), *(ROOT / "lab" / "tidegate_lab").rglob("*.py")]
    found = [str(path.relative_to(ROOT)) for path in places if '"cluster.local"' in path.read_text()]
    assert found == ["agent/tidegate/model/names.py"]
    pages = (ROOT / "agent" / "tidegate" / "observe" / "dashboard").glob("*.js")
    assert not [page.name for page in pages if "cluster.local" in page.read_text()]
