"""Whatever arrives on cni.sock is a request or refused: nothing else leaves the parser."""

from __future__ import annotations

import pytest
from tests.fuzz.mutate import mutants, seeds

from tidegate.enroll import wire
from tidegate.errors import Rejected

SEEDS = seeds("cni_request")
WORDS = [
    *(b'"protocol"', b'"command"', b'"ADD"', b'"DEL"', b'"config"', b'"prevResult"', b'"ips"', b'"address"', b'"args"'),
    *(b"null", b"true", b"0", b"-1", b"1e999", b"NaN", b"9" * 5000, b"[]", b"{}", b'""', b"[" * 3000, b'{"a":' * 3000),
    *(b'"\\ud800"', b"\\u0000", b"\xff", b"\xef\xbb\xbf", b"K8S_POD_NAME=", b"..", b"/", b'"::1%eth0/64"', b"/999"),
]


def check(data: bytes) -> None:
    try:
        request = wire.parse(data, 7)
    except Rejected as error:
        wire.failure(error)
        return
    # What the handler does with these: file names, kernel tables, log lines, JSON.
    assert "/" not in request.container_id
    assert request.command in (wire.Command.STATUS, wire.Command.GC) or request.container_id
    for text in (request.pod.namespace, request.pod.name, request.ifname, request.netns_path, request.cni_version):
        text.encode()
    assert all(ip.packed for ip in request.ips)


@pytest.mark.parametrize("name", SEEDS)
def test_a_seed(name: str) -> None:
    check(SEEDS[name])


def test_mutants() -> None:
    for data in mutants(list(SEEDS.values()), WORDS, count=6000, seed=20):
        check(data)
