"""The policies of one generation as the file that the relay decides by (layout: agent/relay/policy_abi.h)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.errors import Rejected
from tidegate.model.authorization import Authorization, How, PolicyMatch, Text
from tidegate.model.identity import Identity
from tidegate.model.net import IPNetwork, wire_prefix
from tidegate.model.plan.policy import PolicyTable
from tidegate.relay.abi import ffi, lib

_TABLES = ("policies", "rules", "clauses", "matches", "terms")  # of a policy, in the order of the file
_ROWS = {"policies": "row", "terms": "term"}  # else: part


class PolicyWriter:
    """Lays files out. A policy that is the same object as last time is not laid out again."""

    def __init__(self) -> None:
        self._known: dict[int, _Rows] = {}

    def lay_out(self, generation: int, table: PolicyTable) -> bytes:
        """The file's bytes. Raises Rejected if it would be larger than the relay takes."""
        rows = [self._known.get(id(policy)) or _rows(policy) for policy in table.policies]
        self._known = {id(row.policy): row for row in rows}
        workloads, members = _workloads(table)
        names = "".join(table.names.get(cookie, "") for cookie in sorted(table.workloads)).encode()
        head = ffi.new("struct fp_policy_head *")
        head.magic, head.version, head.generation = lib.FP_POLICY_MAGIC, lib.FP_POLICY_VERSION, generation
        head.workloads, head.members = len(workloads), len(members)
        for name in _TABLES:
            setattr(head, name, sum(row.counts[name] for row in rows))
        head.text, head.names = sum(len(row.text) for row in rows), len(names)
        tables = (row.laid_out[name] for name in _TABLES for row in rows)
        parts = (bytes(ffi.buffer(head)), bytes(ffi.buffer(workloads)), *tables, bytes(ffi.buffer(members)))
        made = b"".join((*parts, *(row.text for row in rows), names))
        if len(made) > lib.FP_POLICY_FILE_MAX:
            raise Rejected(f"policies of generation {generation}", f"are {len(made)} bytes", "at most 64 MiB")
        return made


@dataclass(frozen=True, slots=True)
class _Rows:
    policy: Authorization  # kept, so that its id() stays its own
    counts: dict[str, int]
    laid_out: dict[str, bytes]
    text: bytes


@dataclass(frozen=True, slots=True)
class _Term:
    field: int
    negative: bool
    how: int = 0
    text: str = ""
    address: bytes = bytes(16)
    number: int = 0


def _workloads(table: PolicyTable) -> tuple[Any, Any]:
    numbers = [number for _, of in sorted(table.workloads.items()) for number in of]
    workloads = ffi.new("struct fp_policy_workload[]", len(table.workloads))
    for row, (cookie, of) in zip(workloads, sorted(table.workloads.items()), strict=True):
        row.netns_cookie, row.members = cookie, len(of)
        row.name = len(table.names.get(cookie, "").encode())
    return workloads, ffi.new("struct fp_policy_member[]", [(number,) for number in numbers])


def _rows(policy: Authorization) -> _Rows:
    text = bytearray()
    known: dict[bytes, int] = {}  # a text that stands there -> where
    laid_out: dict[str, list[bytes]] = {name: [] for name in _TABLES}

    def add(table: str, **columns: Any) -> None:
        row = ffi.new(f"struct fp_policy_{_ROWS.get(table, 'part')} *")
        for name, value in columns.items():
            setattr(row, name, value)
        laid_out[table].append(bytes(ffi.buffer(row)))

    for clauses in policy.rules:
        add("rules", rows=len(clauses))
        for matches in clauses:
            add("clauses", rows=len(matches))
            for match in matches:
                terms = list(_terms(match))
                add("matches", rows=len(terms))
                for term in terms:
                    spelled = term.text.encode()
                    where = known.setdefault(spelled, len(text)) if spelled else 0
                    text += spelled if where == len(text) else b""
                    place = {"text": where, "length": len(spelled), "addr": {"ip": term.address}}
                    add("terms", field=term.field, how=term.how, negative=term.negative, number=term.number, **place)
    add("policies", rules=len(policy.rules), text=len(text), action=policy.action, dry_run=policy.dry_run)
    counts = {name: len(rows) for name, rows in laid_out.items()}
    return _Rows(policy, counts, {name: b"".join(rows) for name, rows in laid_out.items()}, bytes(text))


def _terms(match: PolicyMatch) -> Iterator[_Term]:
    for negative, principals, namespaces, accounts, sources, destinations, ports in (
        (
            False,
            match.principals,
            match.namespaces,
            match.service_accounts,
            match.source_ips,
            match.destination_ips,
            match.destination_ports,
        ),
        (
            True,
            match.not_principals,
            match.not_namespaces,
            match.not_service_accounts,
            match.not_source_ips,
            match.not_destination_ips,
            match.not_destination_ports,
        ),
    ):
        yield from _texts(lib.FP_FIELD_PRINCIPAL, negative, principals)
        yield from _texts(lib.FP_FIELD_NAMESPACE, negative, namespaces)
        yield from _accounts(negative, accounts)
        yield from _prefixes(lib.FP_FIELD_SOURCE, negative, sources)
        yield from _prefixes(lib.FP_FIELD_DESTINATION, negative, destinations)
        yield from (_Term(lib.FP_FIELD_PORT, negative, number=port) for port in ports)


def _texts(field: int, negative: bool, texts: Iterable[Text]) -> Iterator[_Term]:
    return (_Term(field, negative, one.how, "" if one.how is How.PRESENT else one.value) for one in texts)


def _accounts(negative: bool, accounts: Sequence[Identity]) -> Iterator[_Term]:
    return (_Term(lib.FP_FIELD_ACCOUNT, negative, text=f"{one.namespace}/{one.account}") for one in accounts)


def _prefixes(field: int, negative: bool, networks: Iterable[IPNetwork]) -> Iterator[_Term]:
    for address, bits in map(wire_prefix, networks):
        yield _Term(field, negative, address=address, number=bits)
