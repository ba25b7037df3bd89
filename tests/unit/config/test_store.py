"""Last good versions, generations, and what is said when documents are seen together."""

from __future__ import annotations

from tests.support.configs import config_of, destination_rule, service, virtual_service

from tidegate.config.documents import parse_text
from tidegate.config.source import Loaded, combine
from tidegate.config.store import Store
from tidegate.model.mesh import Mesh

GOOD = virtual_service("v", "reviews", "- timeout: 1s\n  route: [{destination: {host: reviews}}]")
BETTER = GOOD.replace("1s", "2s")
BAD = GOOD.replace("timeout", "timeot")
OTHER = virtual_service("w", "ratings", "- route: [{destination: {host: ratings}}]")


def reading(revision: int = 0, **files: str) -> Loaded:
    return Loaded(tuple(parse_text(text, f"{name}.yaml") for name, text in files.items()), revision)


def names(config: Mesh) -> list[str]:
    return [v.name for v in config.virtual_services]


def test_a_broken_document_keeps_its_last_good_version() -> None:
    store = Store()
    store.merge(reading(a=GOOD))
    config = store.merge(reading(a=BAD + "---" + OTHER))
    assert names(config) == ["v", "w"]
    assert config.virtual_services[0].http[0].timeout_ms == 1000
    (problem,) = [p for p in config.problems if p.is_error]
    assert (problem.file, problem.line) == ("a.yaml", 9)
    assert store.merge(reading(a=BETTER)).virtual_services[0].http[0].timeout_ms == 2000


def test_a_broken_document_that_never_was_good_is_left_out() -> None:
    assert names(Store().merge(reading(a=BAD + "---" + OTHER))) == ["w"]


def test_a_document_that_is_gone_is_gone() -> None:
    store = Store()
    store.merge(reading(a=GOOD, b=OTHER))
    assert names(store.merge(reading(b=OTHER))) == ["w"]


def test_nothing_of_a_file_disappears_while_a_part_of_it_cannot_be_read() -> None:
    store = Store()
    store.merge(reading(a=GOOD + "---" + OTHER))
    config = store.merge(reading(a="kind: [\n---" + OTHER))
    assert names(config) == ["v", "w"]
    assert names(store.merge(reading(a=OTHER))) == ["w"]


def test_generation_rises_only_with_changes() -> None:
    store = Store()
    first = store.merge(reading(a=GOOD))
    assert store.merge(reading(a=GOOD)) is first
    second = store.merge(reading(a=BETTER))
    assert second.generation == first.generation + 1
    assert store.merge(reading(3, a=BETTER)).revision == 3


def test_the_later_definition_of_an_object_wins_and_is_told() -> None:
    config = Store().merge(reading(a=GOOD, b=BETTER))
    assert config.virtual_services[0].http[0].timeout_ms == 2000
    assert "also defined at a.yaml:2" in config.problems[0].message
    assert config.problems[0].file == "b.yaml"


def test_combine_takes_the_highest_revision() -> None:
    both = combine([reading(1, a=GOOD), reading(4, b=OTHER)])
    assert both.revision == 4
    assert len(both.files) == 2


def test_references_that_lead_nowhere_are_warnings() -> None:
    config = config_of(
        service("reviews", "http:9080", ips="10.96.0.1"),
        destination_rule("d", "reviews", "subsets: [{name: v1, labels: {version: v1}}]"),
        virtual_service(
            "v",
            "reviews",
            """
            - route:
              - {destination: {host: reviews, subset: v1}, weight: 1}
              - {destination: {host: reviews, subset: v2}, weight: 1}
              - {destination: {host: reviews, port: {number: 1}}, weight: 1}
              - {destination: {host: nobody}, weight: 1}
              - {destination: {host: shop.example}, weight: 1}
            """,
        ),
    )
    assert [(p.line, p.path, p.severity) for p in config.problems] == [
        (11, "spec.http[0].route[1].destination", "warning"),
        (12, "spec.http[0].route[2].destination", "warning"),
        (13, "spec.http[0].route[3].destination", "warning"),
    ]


def test_a_host_of_two_virtual_services_is_told_at_the_younger() -> None:
    younger = GOOD.replace("name: v,", "name: z,")
    (problem,) = config_of(GOOD, younger).problems
    assert (problem.file, problem.name) == ("1.yaml", "z")
    assert "0.yaml:2" in problem.message
