"""The decision functions, run by the kernel on packets, give what the vectors and the oracle say."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.bpf.decisions import Decisions
from tests.support import arrival_oracle, connect_oracle

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
ADDRESSES = [
    *("10.96.0.10", "10.77.0.1", "127.0.0.1", "127.77.0.1", "127.77.0.2", "127.77.1.0", "0.0.0.0"),
    *("fd00:96::10", "fd00:77::1", "::1", "::", "fd74:6964:6567:6174::1", "fd74:6964:6567:6174::2", "fe80::1"),
]


def load(folder: str) -> list[Any]:
    cases = [case for path in sorted((VECTORS / folder).glob("*.json")) for case in json.loads(path.read_text())]
    assert cases, f"no vectors in {folder}"
    return cases


@pytest.fixture(scope="module")
def kernel() -> Iterator[Decisions]:
    decisions = Decisions()
    yield decisions
    decisions.close()


@pytest.mark.parametrize("case", load("connect"), ids=lambda case: str(case["name"]))
def test_connect(kernel: Decisions, case: dict[str, Any]) -> None:
    assert kernel.connect(case) == case["expect"]


@pytest.mark.parametrize("case", load("questions"), ids=lambda case: str(case["name"]))
def test_questions(kernel: Decisions, case: dict[str, Any]) -> None:
    assert kernel.is_question(case) is case["expect"]


@pytest.mark.parametrize("case", load("names"), ids=lambda case: str(case["name"]))
def test_names(kernel: Decisions, case: dict[str, Any]) -> None:
    assert kernel.names(case) == case["expect"]


@pytest.mark.parametrize("case", load("arrivals"), ids=lambda case: str(case["name"]))
def test_arrivals(kernel: Decisions, case: dict[str, Any]) -> None:
    assert kernel.arrival(case) == case["expect"]
    assert arrival_oracle.decide(case) == case["expect"]


def test_kernel_and_oracle_agree_on_random_arrivals(kernel: Decisions) -> None:
    luck = random.Random(20261127)
    seen: set[str | None] = set()
    for _ in range(2000):
        case: dict[str, Any] = {end: luck.choice(ADDRESSES) for end in ("remote", "local")}
        case |= {name: luck.choice([0, 1, 5, 6]) for name in ("own", "node", "caller")}
        case |= {name: luck.choice([True, False]) for name in ("guarded", "probed", "inbound")}
        if "0.0.0.0" in case.values() or "::" in case.values():
            continue  # no packet has such an end
        expect = arrival_oracle.decide(case)
        assert kernel.arrival(case) == expect, case
        seen.add(expect)
    assert len(seen) == 4


@pytest.mark.parametrize("case", load("flows"), ids=lambda case: str(case["name"]))
def test_flows(kernel: Decisions, case: dict[str, Any]) -> None:
    assert kernel.flow(case) == case["expect"]


def test_kernel_and_oracle_agree_on_random_calls(kernel: Decisions) -> None:
    luck = random.Random(20260719)
    seen: set[str] = set()
    for _ in range(3000):
        case = random_case(luck)
        expect = connect_oracle.decide(case)
        assert kernel.connect(case) == expect, case
        keys = connect_oracle.destination_keys(case)
        assert kernel.destination_keys(case) == keys, case
        assert kernel.range_key(case) == (32 + 128, keys[0]), "by all that a row of a port is found by"
        seen.add(expect["reason"])
    assert len(seen) == 14, "every verdict of the connect hook but those about memory comes up"


def test_kernel_and_oracle_agree_on_random_questions(kernel: Decisions) -> None:
    luck = random.Random(20261126)
    seen: set[bool] = set()
    for _ in range(2000):
        case = {
            "dst": luck.choice([*ADDRESSES, "127.78.0.7", "fd74:6964:6567:6174:0:5::7", "febf::1", "fec0::1"]),
            "port": luck.choice([53, 53, 53, 0, 13568]),  # 13568 is 53 in the wrong order
            "protocol": luck.choice([0, 6, 17, 17, 132]),
            "cgroup": luck.choice([0, 11, 12, 13, *([100] * 10)]),
            "device": luck.choice([3, *([0] * 10)]),
            "v6_capture": luck.choice([True, True, False, None]),
        }
        expect = connect_oracle.is_question(case)
        assert kernel.is_question(case) is expect, case
        seen.add(expect)
    assert seen == {True, False}


def random_case(luck: random.Random) -> dict[str, Any]:
    family = luck.choice([4, 6])
    own = [a for a in ADDRESSES if (":" in a) == (family == 6)]

    def port() -> int:
        return luck.choice([0, 1, 80, 40000, 65535])

    pod = {
        "ip4": luck.choice(["10.77.0.1", None]),
        "ip6": luck.choice(["fd00:77::1", None]),
        "v6_capture": luck.random() < 0.7,
        "registry_only": luck.random() < 0.4,
        "scope": luck.choice([0, 0, 1, 255]),
    } | {name: port() for name in ("fastpath4", "fastpath6", "envoy4", "envoy6")}
    return {
        "dst": luck.choice(own),
        "port": port(),
        "pod": pod if luck.random() < 0.95 else None,
        "dest": {"tier": luck.choice([0, 1, 2, 3, 4, 5]), "service": luck.getrandbits(32)}
        if luck.random() < 0.9
        else None,
        "bound": luck.choice([None, *own]),
        "cgroup": luck.choice([0, 11, 12, *([100] * 20)]),
        "protocol": luck.choice([0, 17, *([6] * 20)]),
        "device": luck.choice([3, *([0] * 10)]),
        "spread": luck.choice([True, False]),
        "elsewhere": luck.random() < 0.2,
        "range": luck.random() < 0.2,
    }
