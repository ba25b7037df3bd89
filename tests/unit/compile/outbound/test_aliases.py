"""Aliases: which ExternalName services VirtualServices name, and how clients write them."""

from __future__ import annotations

import pytest
from tests.support.configs import config_of, service, virtual_service

from tidegate.compile.derive import Read
from tidegate.compile.facts import join
from tidegate.compile.outbound.aliases import aliases, spellings
from tidegate.compile.registry import Registry
from tidegate.compile.rules import Rules
from tidegate.model.names import ServiceName

WEB = "web.default.svc.cluster.local"


def alias(name: str, of: str) -> str:
    return service(name, spec=f"type: ExternalName\n  externalName: {of}")


def found(*documents: str) -> dict[str, list[str]]:
    """Service -> names of the aliases of it that rules name."""
    read: Read = join(config_of(service("web", "http:80", ips="10.96.0.1"), *documents), ()).read
    return {fqdn: [a.name for a in names] for fqdn, names in aliases(Registry(read), Rules(read)).items()}


def rule(name: str, hosts: str) -> str:
    return virtual_service(name, hosts, "- directResponse: {status: 418}")


@pytest.mark.case("C7")
def test_an_alias_that_a_rule_names_belongs_to_the_service_at_its_end() -> None:
    documents = alias("old", "older.default.svc.cluster.local"), alias("older", WEB)
    assert found(*documents, rule("by-alias", "old")) == {WEB: ["old"]}
    assert found(*documents, rule("both", "old, older, web")) == {WEB: ["old", "older"]}


def test_an_alias_that_no_rule_names_is_of_no_interest() -> None:
    assert found(alias("old", WEB), rule("web", "web")) == {}
    assert found(alias("old", WEB), rule("wild", '"*.default.svc.cluster.local"')) == {}


def test_clients_of_other_namespaces_have_no_short_name() -> None:
    old = ServiceName("default", "old")
    longer = ["old.default", "old.default.svc", "old.default.svc.cluster.local"]
    assert list(spellings(old, "default")) == ["old", *longer]
    assert list(spellings(old, "shop")) == longer
