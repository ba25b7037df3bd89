"""Policies as tests write them, and the two that decide by them: the oracle, and agent/relay/policy.c in a process."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Self

from tidegate.compile.explain.authorization import decide
from tidegate.model.authorization import (
    Authorization,
    AuthorizationAction,
    How,
    PolicyDecision,
    PolicyMatch,
    PolicyScope,
    PolicySubject,
    PolicyVerdict,
    Text,
)
from tidegate.model.identity import Identity
from tidegate.model.net import IPNetwork, parse_ip, to_wire
from tidegate.model.plan.policy import PolicyTable
from tidegate.relay.abi import ffi
from tidegate.relay.policy_file import PolicyWriter

HERE = Path(__file__).resolve().parent
DIRECTORY = HERE.parent / "vectors" / "authorization"
RELAY = HERE.parents[1] / "agent" / "relay"
COOKIE = 7  # of the pod that vectors are about
Numbers = tuple[int, int, int, int, int]  # of fp_policy_decision, without the pad
_SIZE = ffi.sizeof("struct fp_policy_decision")
_FLAGS = "-std=gnu11 -O1 -g -D_GNU_SOURCE -Wall -Wextra -Werror -fsanitize=address,undefined -fno-sanitize-recover=all"


@dataclass(frozen=True)
class Vector:
    """name; the policies of one pod, in order; a connection to it; what is decided."""

    name: str
    policies: tuple[Authorization, ...]
    subject: PolicySubject
    expect: PolicyDecision


def vectors() -> Iterator[Vector]:
    for path in sorted(DIRECTORY.glob("*.json")):
        for group in json.loads(path.read_text()):
            policies = tuple(policy_of(one) for one in group["policies"])
            policies = tuple(sorted(policies, key=lambda one: (one.namespace, one.name)))
            for case in group["cases"]:
                name = f"{path.stem}: {group['name']}: {case['name']}"
                yield Vector(name, policies, subject_of(case), decision_of(case["expect"]))


def subject_of(case: dict[str, Any]) -> PolicySubject:
    who = case.get("who")
    domain, namespace, account = (who.split("/")[0], who.split("/")[2], who.split("/")[4]) if who else ("", "", "")
    identity = Identity(namespace, account) if who else None
    source, destination = parse_ip(case.get("from", "10.1.0.1")), parse_ip(case.get("to", "10.2.0.2"))
    return PolicySubject(source, destination, case.get("port", 80), identity, domain)


def decision_of(expect: dict[str, Any]) -> PolicyDecision:
    """{"verdict": .., "policy": .., "would": .., "would_policy": .., "audited": ..}; what is left out is nothing."""
    verdict, would = (
        PolicyVerdict[expect["verdict"].upper()],
        PolicyVerdict[expect.get("would", "allow_no_policy").upper()],
    )
    names = (expect.get(key, "") for key in ("policy", "would_policy", "audited"))
    policy, would_policy, audited = names
    return PolicyDecision(verdict, policy, would, would_policy, audited)


def policy_of(message: dict[str, Any]) -> Authorization:
    """An istio.security.Authorization in proto-JSON; AUDIT is an action as well."""
    return Authorization(
        namespace=message.get("namespace", ""),
        name=message["name"],
        scope=PolicyScope[message.get("scope", "GLOBAL")],
        action=AuthorizationAction[message.get("action", "ALLOW")],
        rules=tuple(
            tuple(tuple(_match(match) for match in clause.get("matches", ())) for clause in rule.get("clauses", ()))
            for rule in message.get("rules", ())
        ),
        dry_run=message.get("dryRun", False),
    )


def _match(message: dict[str, Any]) -> PolicyMatch:
    texts = ("namespaces", "notNamespaces", "principals", "notPrincipals")
    ips = ("sourceIps", "notSourceIps", "destinationIps", "notDestinationIps")
    fields: dict[str, Any] = {}
    for key, values in message.items():
        name = "".join(f"_{c.lower()}" if c.isupper() else c for c in key)
        if key in texts:
            fields[name] = tuple(_text(one) for one in values)
        elif key in ips:
            fields[name] = tuple(_network(one) for one in values)
        elif key in ("serviceAccounts", "notServiceAccounts"):
            fields[name] = tuple(Identity(one["namespace"], one["serviceAccount"]) for one in values)
        else:
            fields[name] = tuple(values)
    return PolicyMatch(**fields)


def _text(message: dict[str, Any]) -> Text:
    [(how, value)] = message.items()
    return Text(How.PRESENT) if how == "presence" else Text(How[how.upper()], value)


def _network(message: Any) -> IPNetwork:
    """As the message has it, or for people: "10.0.0.0/8"."""
    if isinstance(message, str):
        return ip_network(message, strict=False)
    return ip_network((ip_address(b64decode(message["address"])), message["length"]), strict=False)


def _number(number: int, size: int) -> bytes:
    return number.to_bytes(size, sys.byteorder)


def _decision(raw: bytes) -> Numbers:
    found = ffi.from_buffer("struct fp_policy_decision *", raw)
    assert not found.pad
    return found.verdict, found.policy, found.would, found.would_policy, found.audited


class Asker:
    """agent/relay/policy.c under sanitizers. A file that it cannot read, or a fault, ends it and fails the test."""

    def __init__(self, directory: Path) -> None:
        program = directory / "policy_asker"
        sources = [HERE / "policy_asker.c", *(RELAY / name for name in ("policy.c", "policy_file.c", "sealed.c"))]
        subprocess.run([*shlex.split(os.environ.get("CC", "cc")), *_FLAGS.split(), "-o", program, *sources], check=True)
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Raises AssertionError if the program found fault with itself."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.stdout is not None
        self._process.stdout.read()
        self._process.stdout.close()
        assert self._process.wait() == 0, "see what it wrote to stderr"

    def ask(self, file: bytes, connections: Sequence[tuple[int, PolicySubject]]) -> tuple[int, list[Numbers]]:
        """What reading the file gave, and of each connection the numbers of fp_policy_decision."""
        question = _number(len(file), 4) + file + _number(len(connections), 4)
        for cookie, subject in connections:
            name = subject.identity.spiffe(subject.trust_domain).encode() if subject.identity else b""
            question += _number(cookie, 8) + to_wire(subject.source) + to_wire(subject.destination)
            question += _number(subject.port, 2) + _number(len(name), 2) + bytes(4) + name
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(question)
        stdin.flush()
        result = int.from_bytes(stdout.read(4), sys.byteorder, signed=True)
        return result, [_decision(stdout.read(_SIZE)) for _ in connections] if result == 0 else []

    def decide(self, policies: Sequence[Authorization], subject: PolicySubject) -> PolicyDecision:
        """As the oracle's."""
        table = PolicyTable(tuple(policies), {COOKIE: tuple(range(1, len(policies) + 1))})
        result, [numbers] = self.ask(PolicyWriter().lay_out(1, table), [(COOKIE, subject)])
        assert result == 0
        verdict, policy, would, would_policy, audited = numbers
        keys = ["", *(one.key for one in policies)]
        return PolicyDecision(
            PolicyVerdict(verdict), keys[policy], PolicyVerdict(would), keys[would_policy], keys[audited]
        )


__all__ = ["COOKIE", "Asker", "Vector", "decide", "policy_of", "vectors"]
