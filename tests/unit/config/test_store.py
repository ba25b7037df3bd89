"""Last good versions, generations, what stays the same object, and what is said when documents are seen together."""

from __future__ import annotations

import json

import pytest
from tests.support.configs import Texts, config_of, destination_rule, service, virtual_service

from tidegate.config import documents
from tidegate.config.documents import Document, Part, Piece
from tidegate.config.store import Store
from tidegate.model.mesh import Mesh, Problem
from tidegate.model.names import ObjectKey
from tidegate.model.verdict import Verdict

GOOD = virtual_service("v", "reviews", "- timeout: 1s\n  route: [{destination: {host: reviews}}]")
BETTER = GOOD.replace("1s", "2s")
BAD = GOOD.replace("timeout", "timeot")
OTHER = virtual_service("w", "ratings", "- route: [{destination: {host: ratings}}]")


class Story:
    """A store with one source of files."""

    def __init__(self) -> None:
        self.store = Store()
        self.source = Texts()

    def tell(self, revision: int = 0, unread: tuple[str, ...] = (), **files: str) -> Mesh:
        named = {f"{name}.yaml": text for name, text in files.items()}
        return self.store.apply(0, self.source.say(named, revision, unread))


def names(config: Mesh) -> list[str]:
    return [v.name for v in config.virtual_services]


def test_a_broken_document_keeps_its_last_good_version() -> None:
    story = Story()
    story.tell(a=GOOD)
    config = story.tell(a=BAD + "---" + OTHER)
    assert names(config) == ["v", "w"]
    assert config.virtual_services[0].http[0].timeout_ms == 1000
    (problem,) = [p for p in config.problems if p.is_error]
    assert (problem.file, problem.line) == ("a.yaml", 9)
    assert [str(key) for key in story.store.broken] == ["VirtualService default/v"]
    assert story.tell(a=BETTER).virtual_services[0].http[0].timeout_ms == 2000
    assert not story.store.broken


def test_a_broken_document_that_never_was_good_is_left_out() -> None:
    assert names(Story().tell(a=BAD + "---" + OTHER)) == ["w"]


def test_a_wrong_api_version_makes_no_other_object() -> None:
    story = Story()
    story.tell(a=GOOD)
    for version in ("networking.istio.io/v2", "v1", "''"):
        assert names(story.tell(a=GOOD.replace("networking.istio.io/v1", version))) == ["v"]


def test_a_document_that_is_gone_is_gone() -> None:
    story = Story()
    story.tell(a=GOOD, b=OTHER)
    assert names(story.tell(b=OTHER)) == ["w"]


def test_nothing_of_a_file_disappears_while_a_part_of_it_cannot_be_read() -> None:
    story = Story()
    story.tell(a=GOOD + "---" + OTHER)
    config = story.tell(a="kind: [\n---" + OTHER)
    assert names(config) == ["v", "w"]
    assert names(story.tell(a=OTHER)) == ["w"]


def test_nothing_of_a_file_disappears_while_it_cannot_be_read() -> None:
    story = Story()
    story.tell(a=GOOD, b=OTHER)
    config = story.tell(b=OTHER, unread=("a.yaml",))
    assert names(config) == ["v", "w"]
    assert [(p.file, p.code) for p in config.problems] == [("a.yaml", "TG0601")]
    assert names(story.tell(b=OTHER)) == ["w"]


def test_generation_rises_only_with_changes() -> None:
    story = Story()
    first = story.tell(a=GOOD)
    assert story.tell(a=GOOD) is first
    second = story.tell(a=BETTER)
    assert second.generation == first.generation + 1
    numbered = story.tell(3, a=BETTER)
    assert (numbered.revision, numbered.generation) == (3, second.generation + 1)
    assert numbered.virtual_services is second.virtual_services


def test_what_did_not_change_stays_the_same_object() -> None:
    story = Story()
    first = story.tell(a=GOOD + "---" + OTHER, s=service("reviews", "http:80"))
    second = story.tell(a=BETTER + "---" + OTHER, s=service("reviews", "http:80"))
    assert second.services is first.services
    assert second.virtual_services[0] is not first.virtual_services[0]
    assert second.virtual_services[1] is first.virtual_services[1]
    assert second.changed == {ObjectKey("networking.istio.io", "VirtualService", "default", "v")}
    commented = story.tell(a=BETTER.rstrip() + " # said in other words\n---" + OTHER, s=service("reviews", "http:80"))
    assert commented is second, "the same values"


def test_a_document_that_was_broken_for_a_while_is_the_same_object_afterwards() -> None:
    story = Story()
    first = story.tell(a=GOOD)
    assert story.tell(a=BAD).virtual_services is first.virtual_services
    repaired = story.tell(a=GOOD)
    assert repaired.virtual_services is first.virtual_services
    assert not repaired.problems


def test_a_change_costs_what_it_touches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed: documents that are read, and objects whose references are looked at."""
    read: list[str] = []
    checked: list[str] = []
    read_piece, beside_others = documents.read_piece, Store._beside_others

    def counted_read(piece: Piece, path: str) -> Part:
        read.append(path)
        return read_piece(piece, path)

    def counted_check(store: Store, key: ObjectKey, document: Document | None) -> tuple[Problem, ...]:
        checked.append(key.name)
        return beside_others(store, key, document)

    monkeypatch.setattr(documents, "read_piece", counted_read)
    monkeypatch.setattr(Store, "_beside_others", counted_check)
    route = "- route: [{{destination: {{host: s{}}}}}]"
    files = {
        f"f{n}.yaml": "---".join(
            service(f"s{i}", "http:80") + "---" + virtual_service(f"v{i}", f"s{i}", route.format(i))
            for i in range(10 * n, 10 * n + 10)
        )
        for n in range(10)
    }
    story = Story()
    story.store.apply(0, story.source.say(files))
    assert (len(read), len(set(checked))) == (200, 100)
    read.clear()
    checked.clear()
    edited = files["f3.yaml"].replace("name: http, port: 80", "name: http, port: 81", 1)
    story.store.apply(0, story.source.say({**files, "f3.yaml": edited}))
    assert read == ["f3.yaml"]
    assert checked == ["v30"], "the rule that names the service"


def test_what_comes_from_no_file_is_told_by_its_name() -> None:
    bad = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "v", "namespace": "shop"},
        "spec": {"hosts": ["a"], "http": [{"timeout": "x"}]},
    }
    (problem, *_) = documents.parse_text(json.dumps(bad), "").problems
    assert str(problem).startswith("error VirtualService shop/v spec.http[0].timeout: ")


def test_an_object_may_move_to_another_file_at_the_same_line() -> None:
    story = Story()
    story.tell(a=GOOD)
    moved = story.tell(b=GOOD)
    assert names(moved) == ["v"]
    assert moved.virtual_services[0].origin.file == "b.yaml"


def test_the_later_definition_of_an_object_wins_and_is_told() -> None:
    story = Story()
    config = story.tell(a=GOOD, b=BETTER)
    assert config.virtual_services[0].http[0].timeout_ms == 2000
    assert "also defined at a.yaml:2" in config.problems[0].message
    assert config.problems[0].file == "b.yaml"
    alone = story.tell(a=GOOD)
    assert alone.virtual_services[0].http[0].timeout_ms == 1000
    assert not alone.problems


def test_of_several_sources_the_last_one_speaks() -> None:
    store, one, two = Store(2), Texts(), Texts()
    assert store.apply(0, one.say({"a.yaml": BETTER}, 1)).generation == 0, "the other source has not spoken yet"
    config = store.apply(1, two.say({"b.yaml": GOOD}, 4))
    assert config.revision == 4
    assert config.virtual_services[0].http[0].timeout_ms == 1000
    assert [p.file for p in config.problems] == ["b.yaml"]
    assert store.apply(1, two.say({}, 4)).virtual_services[0].http[0].timeout_ms == 2000


SUBSET = destination_rule("d", "reviews", "subsets: [{name: v1, labels: {version: v1}}]")
TO_SUBSETS = virtual_service(
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
)


def test_references_that_lead_nowhere_are_warnings() -> None:
    config = config_of(service("reviews", "http:9080", ips="10.96.0.1"), SUBSET, TO_SUBSETS)
    assert [(p.line, p.path, p.severity) for p in config.problems] == [
        (11, "spec.http[0].route[1].destination", "warning"),
        (12, "spec.http[0].route[2].destination", "warning"),
        (13, "spec.http[0].route[3].destination", "warning"),
        (14, "spec.http[0].route[4].destination", "warning"),
    ]


def test_references_are_looked_at_again_when_what_they_name_changes() -> None:
    def lines(config: Mesh) -> list[int]:
        return [p.line for p in config.problems]

    story = Story()
    assert lines(story.tell(v=TO_SUBSETS)) == [], "without any service there is no registry to be missing in"
    reviews = service("reviews", "http:9080")
    assert lines(story.tell(v=TO_SUBSETS, r=reviews)) == [10, 11, 12, 13, 14]
    assert lines(story.tell(v=TO_SUBSETS, r=reviews, d=SUBSET)) == [11, 12, 13, 14]
    wild = destination_rule("w", "*.svc.cluster.local", "subsets: [{name: v2, labels: {version: v2}}]")
    assert lines(story.tell(v=TO_SUBSETS, r=reviews, d=SUBSET, w=wild)) == [12, 13, 14]
    both = reviews + "---" + service("nobody", "http:80")
    assert lines(story.tell(v=TO_SUBSETS, r=both, d=SUBSET, w=wild)) == [12, 14]
    assert lines(story.tell(v=TO_SUBSETS, r=reviews.replace("9080", "1"), w=wild)) == [10, 13, 14]
    assert lines(story.tell(v=TO_SUBSETS, w=wild)) == []
    assert lines(story.tell(r=reviews)) == []


def test_a_host_of_two_virtual_services_is_told_at_the_younger() -> None:
    younger = GOOD.replace("name: v,", "name: z,")
    (problem,) = config_of(GOOD, younger).problems
    assert (problem.file, problem.about.name) == ("1.yaml", "z")
    assert "0.yaml:2" in problem.message
    story = Story()
    assert len(story.tell(a=GOOD, b=younger).problems) == 1
    assert not story.tell(b=younger).problems


def timeouts(config: Mesh) -> list[int]:
    return [vs.http[0].timeout_ms for vs in config.virtual_services]


@pytest.mark.case("A2")
def test_a_rule_that_envoy_refuses_gives_way_to_the_version_before_it() -> None:
    story = Story()
    story.tell(a=GOOD, b=OTHER)
    config = story.tell(a=BETTER, b=OTHER)
    refused = config.virtual_services[0]
    config = story.store.judge([Verdict(refused, "no such operator")])
    assert timeouts(config) == [1000, 0]
    assert config.refused == (refused,)
    assert [str(key) for key in story.store.broken] == ["VirtualService default/v"], "kept on disk"
    assert story.store.judge([Verdict(refused, "no such operator")]) is config
    assert story.tell(a=BETTER, b=OTHER) is config, "told again, it is no better"


@pytest.mark.case("A2")
def test_a_refused_rule_that_never_was_good_is_missing_alone() -> None:
    story = Story()
    refused = story.tell(a=GOOD, b=OTHER).virtual_services[0]
    config = story.store.judge([Verdict(refused, "no such operator")])
    assert names(config) == ["w"]
    config = story.tell(a=BETTER, b=OTHER)
    assert (timeouts(config), config.refused) == ([2000, 0], ())
    assert not story.store.broken
    assert names(story.tell(b=OTHER)) == ["w"]


@pytest.mark.case("A2")
def test_of_two_refused_versions_one_after_the_other_neither_is_in_force() -> None:
    story = Story()
    first = story.tell(a=GOOD).virtual_services[0]
    story.store.judge([Verdict(first)])
    second = story.tell(a=BETTER).virtual_services[0]
    third = story.tell(a=GOOD.replace("1s", "3s")).virtual_services[0]
    assert story.store.judge([Verdict(second, "about a version that is gone")]).virtual_services == (third,)
    assert story.store.judge([Verdict(third, "no")]).virtual_services == (first,), "the one that was accepted"


@pytest.mark.case("A2")
def test_a_refused_rule_that_another_envoy_accepts_is_in_force() -> None:
    story = Story()
    first = story.tell(a=GOOD).virtual_services[0]
    refused = story.tell(a=BETTER).virtual_services[0]
    assert story.store.judge([Verdict(refused, "no")]).virtual_services == (first,)
    config = story.store.judge([Verdict(refused)])
    assert (config.virtual_services, config.refused) == ((refused,), ())
    assert not story.store.broken
    assert story.tell().virtual_services == ()


@pytest.mark.case("A2")
def test_what_was_before_a_refused_rule_survives_a_restart() -> None:
    story = Story()
    story.tell(a=GOOD)
    refused = story.tell(a=BETTER).virtual_services[0]
    story.store.judge([Verdict(refused, "no")])
    (kept,) = story.store.broken.values()
    again = Story()
    again.store.seed([kept])
    refused = again.tell(a=BETTER).virtual_services[0]
    assert timeouts(again.store.judge([Verdict(refused, "no")])) == [1000]
