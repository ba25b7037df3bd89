"""10 000 documents, valid and mutated, go the whole way: read, checked beside each other, compiled for a node, for a
gateway and for those who ask over xDS, encoded. Nothing raises, and what is not taken is told with place and reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from pathlib import Path

import pytest
from tests.acceptance.api_support import DOCUMENTS
from tests.fuzz.mutate import mutants
from tests.fuzz.trees import Seeds, as_yaml, changed, seeds_of
from tests.support.configs import mesh_of, pod, sandbox

from tidegate.bpf.records import decode_destination_key, decode_range_key, put_destination_key, put_range_key
from tidegate.compile.compiler import compile_plan
from tidegate.compile.explain.trace import explain
from tidegate.compile.facts import Facts, join
from tidegate.compile.gateway.compiler import compile_gateway
from tidegate.compile.others.client import client
from tidegate.compile.others.served import known, resources
from tidegate.config.documents import ParsedFile, parse_text
from tidegate.config.messages import MESSAGES
from tidegate.config.stand_ins import with_stand_ins
from tidegate.model.gateway import GatewayWorkload
from tidegate.model.mesh import NO_OBJECT, Problem
from tidegate.model.names import WorkloadId
from tidegate.model.plan.envoy import CHECKS, Resources
from tidegate.model.plan.kernel import WHOLE as EXACT
from tidegate.model.plan.kernel import Destination
from tidegate.native import ffi
from tidegate.relay.image import ImageWriter
from tidegate.xds.encode import Encoder

ROOT = Path(__file__).resolve().parents[3]
COUNT, TOGETHER, PARTS = 10_000, 250, 8
CODES = {row.code: row.severity for row in MESSAGES}
# What is wrong with a document as a whole, and not with a field.
WHOLE = {"TG0108", "TG0109", "TG0110", "TG0501", "TG0801", "TG0823"}
WORDS = [
    *(b": ", b"- ", b"\n", b"  ", b"*", b"&a ", b"*a", b"{", b"[", b"'", b'"', b"null", b"65536", b"-1", b"1s"),
    *(b"http", b"host", b"\x1b", b"\xe2\x80\xa8", b"\xff"),
]  # fmt: skip
CLIENT = WorkloadId("shop", "client")
NAMESPACES = ("shop", "default", "prod", "bookinfo")
AROUND = "---".join(
    f"\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{istio-injection: enabled}}}}\n---"
    + pod("client", "app: client, version: v1", f"10.9.9.{number}", namespace=name)
    for number, name in enumerate(NAMESPACES, 1)
)
SELECTED = {"istio": "ingressgateway"}
WORKLOADS = (GatewayWorkload("shop", SELECTED), GatewayWorkload("istio-system", SELECTED))
OTHERS = (client("sidecar~10.9.9.1~client.shop~shop.svc.cluster.local", {}), client("by-hand", {}))


@cache
def seeds() -> Seeds:
    """The user's documents, those in which every field is set, those with mistakes, and what labs are made of."""
    parts = ("vectors/fields", "vectors/documents", "support/manifests")
    where = [DOCUMENTS, *(ROOT / "tests" / part for part in parts), ROOT / "samples"]
    return seeds_of([path.read_text() for directory in where for path in sorted(directory.rglob("*.yaml"))])


def texts(part: int) -> Iterator[str]:
    """Four of five are changed as trees, the others as the bytes that they are."""
    count = COUNT // PARTS
    yield from map(as_yaml, changed(seeds(), count * 4 // 5, seed=part))
    inputs = [as_yaml(document).encode() for document in seeds().documents]
    yield from (data.decode(errors="replace") for data in mutants(inputs, WORDS, count // 5, seed=part))


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_raises_and_what_is_not_taken_is_told_with_place_and_reason(part: int) -> None:
    good = refused = 0
    written = texts(part)
    while together := list(islice(written, TOGETHER)):
        kept = [text for text in together if is_taken(text)]
        good, refused = good + len(kept), refused + len(together) - len(kept)
        go_the_whole_way(kept)
    assert good + refused == COUNT // PARTS
    assert 5 * min(good, refused) > good + refused, "the mutations are too wild, or too tame"


def is_taken(text: str) -> bool:
    """Whether all of a file is taken. Fails unless the rest is told."""
    parsed = parse_text(text, "one.yaml")
    check_told(parsed, len(text.splitlines()) + 1)
    return not any(problem.is_error for problem in parsed.problems)


def check_told(parsed: ParsedFile, lines: int) -> None:
    for problem in parsed.problems:
        check_problem(problem)
        assert 1 <= problem.line <= lines, problem
    for document in parsed.documents:
        wrong = any(problem.is_error for problem in document.problems)
        assert document.failed is wrong, document
        assert not (wrong and document.value is not None), document
    assert not parsed.unreadable or any(problem.is_error for problem in parsed.nameless)


def check_problem(problem: Problem) -> None:
    """Whoever reads it finds the place and the reason, on one line that does nothing to a terminal."""
    assert CODES[problem.code] is problem.severity
    assert problem.message
    assert problem.path or problem.code in WHOLE or problem.about == NO_OBJECT, problem
    assert str(problem).isprintable(), repr(str(problem))
    assert all(str(word).isprintable() for word in problem.as_json().values())


def facts_of(texts: Sequence[str]) -> Facts:
    """What these files mean on a node with a pod in each of NAMESPACES."""
    mesh = mesh_of({f"{number:04}.yaml": text for number, text in enumerate(texts)})
    for problem in mesh.problems:
        check_problem(problem)
    clients = [sandbox("client", f"10.9.9.{n}", namespace=name, cookie=n) for n, name in enumerate(NAMESPACES, 1)]
    return join(with_stand_ins(mesh), clients, node="node1")


def go_the_whole_way(texts: Sequence[str]) -> None:
    facts = facts_of([*texts, AROUND])
    plan = compile_plan(facts, 1)
    assert any(pod.enrolled for pod in plan.pods)
    check_encoded(plan.envoy)
    ImageWriter().lay_out(1, plan.l4)
    check_rows(plan.destinations)
    for workload in WORKLOADS:
        check_encoded(compile_gateway(facts, workload).envoy)
    for one in OTHERS:
        check_encoded(resources(facts, known(facts, one)))
    for service in facts.services.values():
        for port in service.ports[:1]:
            explain(facts, CLIENT, service.id.fqdn, port.port)


def check_rows(destinations: Iterable[Destination]) -> None:
    """The kernel's tables hold each row, and give it back as it was put there."""
    for row in destinations:
        whole = row.bits == EXACT
        raw = ffi.new("struct tg_dest_key *" if whole else "struct tg_range_key *")
        (put_destination_key if whole else put_range_key)(raw, row.key)
        assert (decode_destination_key if whole else decode_range_key)(raw) == row.key


def check_encoded(found: Resources) -> None:
    """Everything that is emitted is a message of Envoy's."""
    encoder = Encoder()
    for kind, table in found.items():
        for name, resource in table.items():
            if kind != CHECKS:
                _, rejection = encoder.encode(kind, name, resource)
                assert rejection is None or resource.wrong, rejection  # wrong: a patch that cannot be applied, told so
