"""The policies of one generation as the file that the relay decides by (layout: agent/relay/policy_abi.h)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate.errors import Rejected
from tidegate.model.authorization import Authorization, How, Match, Text
from tidegate.model.identity import Identity
from tidegate.model.net import IPNetwork, wire_prefix
from tidegate.model.plan.policy import PolicyTable
from tidegate.relay.abi import ffi, lib

_TABLES = ("workloads", "policies", "rules", "clauses", "matches", "terms", "members")
_ROWS = {"workloads": "workload", "policies": "row", "terms": "term", "members": "member"}  # else: part


def lay_out(generation: int, table: PolicyTable) -> bytes:
    """The file's bytes. Raises Rejected if it would be larger than the relay takes."""
    file = _File()
    for policy in table.policies:
        file.policy(policy)
    for cookie, numbers in sorted(table.workloads.items()):
        for number in numbers:
            file.add("members", policy=number)
        file.add("workloads", netns_cookie=cookie, members=file.count("members"))
    made = file.bytes(generation)
    if len(made) > lib.FP_POLICY_FILE_MAX:
        raise Rejected(f"policies of generation {generation}", f"are {len(made)} bytes", "at most 64 MiB")
    return made


@dataclass(frozen=True, slots=True)
class _Term:
    field: int
    negative: bool
    how: int = 0
    text: str = ""
    address: bytes = bytes(16)
    number: int = 0


class _File:
    def __init__(self) -> None:
        self._rows: dict[str, list[bytes]] = {table: [] for table in _TABLES}
        self._text = bytearray()
        self._known: dict[bytes, int] = {}  # a text that stands there -> where

    def count(self, table: str) -> int:
        return len(self._rows[table])

    def add(self, table: str, **columns: Any) -> None:
        """One row; columns that are left out are 0."""
        row = ffi.new(f"struct fp_policy_{_ROWS.get(table, 'part')} *")
        for name, value in columns.items():
            setattr(row, name, value)
        self._rows[table].append(bytes(ffi.buffer(row)))

    def policy(self, policy: Authorization) -> None:
        for rule in policy.rules:
            for clause in rule:
                for match in clause:
                    for term in _terms(match):
                        self._term(term)
                    self.add("matches", end=self.count("terms"))
                self.add("clauses", end=self.count("matches"))
            self.add("rules", end=self.count("clauses"))
        self.add("policies", rules=self.count("rules"), action=policy.action, dry_run=policy.dry_run)

    def _term(self, term: _Term) -> None:
        text = term.text.encode()
        where = self._known.get(text)
        if where is None:
            where = self._known[text] = len(self._text) if text else 0
            self._text += text
        columns = {"text": where, "length": len(text), "number": term.number, "addr": {"ip": term.address}}
        self.add("terms", field=term.field, how=term.how, negative=term.negative, **columns)

    def bytes(self, generation: int) -> bytes:
        head = ffi.new("struct fp_policy_head *")
        head.magic, head.version, head.generation = lib.FP_POLICY_MAGIC, lib.FP_POLICY_VERSION, generation
        for table in _TABLES:
            setattr(head, table, self.count(table))
        head.text = len(self._text)
        return b"".join(
            (bytes(ffi.buffer(head)), *(row for table in _TABLES for row in self._rows[table]), bytes(self._text))
        )


def _terms(match: Match) -> Iterator[_Term]:
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
