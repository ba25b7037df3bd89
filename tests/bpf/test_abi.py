"""One layout for kernel, C and Python: what cffi believes is what the objects' BTF says."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from tests.bpf.pod import OBJECTS

from tidegate.model import capture
from tidegate.model.net import to_wire
from tidegate.model.tier import Tier
from tidegate.native import REASONS, ffi, lib

INCLUDE = Path(__file__).resolve().parents[2] / "bpf" / "include"
ABI_STRUCTS = ["tg_addr", "tg_pod_key", "tg_pod", "tg_dest_key", "tg_dest", "tg_flow_key", "tg_flow", "tg_sock"]
ABI_STRUCTS += ["tg_settings", "tg_inbound_key", "tg_inbound"]


def btf(path: Path) -> list[dict[str, Any]]:
    out = subprocess.run(["bpftool", "-j", "btf", "dump", "file", str(path)], check=True, capture_output=True).stdout
    types: list[dict[str, Any]] = json.loads(out)["types"]
    return types


def structs_of_objects() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(OBJECTS.glob("*.bpf.o")):
        for entry in btf(path):
            if entry["kind"] == "STRUCT" and entry["name"] in ABI_STRUCTS:
                yield path.name, entry


@pytest.mark.parametrize(
    ("path", "struct"), list(structs_of_objects()), ids=lambda v: v if isinstance(v, str) else v["name"]
)
def test_offsets_equal_btf(path: str, struct: dict[str, Any]) -> None:
    known = ffi.typeof(f"struct {struct['name']}")
    assert ffi.sizeof(known) == struct["size"]
    fields = {name: field.offset * 8 for name, field in known.fields}
    assert fields == {member["name"]: member["bits_offset"] for member in struct["members"]}


def test_every_struct_was_compared() -> None:
    assert {struct["name"] for _, struct in structs_of_objects()} == set(ABI_STRUCTS)


@pytest.mark.parametrize("name", ABI_STRUCTS)
def test_no_implicit_padding(name: str) -> None:
    """Padding that nobody zeroes would make equal keys differ."""
    at = 0
    known = ffi.typeof(f"struct {name}")
    for field_name, field in known.fields:
        assert field.offset == at, f"hole before {name}.{field_name}"
        at += ffi.sizeof(field.type)
    assert at == ffi.sizeof(known), f"hole at the end of {name}"


def test_tiers_equal_the_models() -> None:
    values = ffi.typeof("enum tg_tier").relements
    assert {name.removeprefix("TG_TIER_"): value for name, value in values.items()} == {t.name: t.value for t in Tier}


def test_reason_names_are_those_of_the_enum() -> None:
    values = ffi.typeof("enum tg_reason").relements
    by_value = {value: name.removeprefix("TG_").lower() for name, value in values.items() if name != "TG_REASON_COUNT"}
    assert [by_value[i] for i in range(len(by_value))] == list(REASONS)
    assert len(REASONS) == lib.TG_REASON_COUNT <= lib.TG_MAX_REASONS


@pytest.mark.parametrize("name", ["fastpath4", "envoy4", "inbound4", "fastpath6", "envoy6", "inbound6"])
def test_capture_addresses_as_text_and_as_bytes_agree(name: str) -> None:
    tier, version = name[:-1].upper(), name[-1]
    defined = dict(re.findall(r"#define TG_CAPTURE(\w+) (.+)", (INCLUDE / "tg_capture.h").read_text()))
    text, prefix = (defined[f"{version}_{what}"].strip('"') for what in (f"{tier}_IP", "PREFIX"))
    spelled = re.findall(r"\w+", defined[f"{version}_{tier}"])
    assert bytes(int(number, 0) for number in spelled) == to_wire(ip_address(text))
    assert getattr(capture, f"CAPTURE{version}_PREFIX") == ip_network(prefix)
    assert ip_address(text) in ip_network(prefix)
    assert getattr(capture, f"CAPTURE{version}_{tier}") == ip_address(text), "and as the model spells them"


def test_addresses_of_dns_are_spelled_alike() -> None:
    defined = dict(re.findall(r'#define TG_DNS(\w+) "(.+)"', (INCLUDE / "tg_capture.h").read_text()))
    assert ip_network(defined["4_PREFIX"]) == capture.DNS4_PREFIX
    assert (ip_address(defined["4_IP"]), ip_address(defined["6_IP"])) == (capture.DNS4, capture.DNS6)
    assert (capture.DNS_HALF, capture.DNS_PORT) == (lib.TG_DNS_HALF, lib.TG_DNS_PORT)
    assert capture.RANGE_CLIENT_PORT == lib.TG_RANGE_CLIENT_PORT
    for version in (4, 6):
        for slot in (0, lib.TG_DNS_SLOTS - 1):
            assert capture.slot_of(capture.slot_address(slot, version), lib.TG_DNS_SLOTS) == slot
    for other in (capture.DNS4, capture.DNS6, ip_address("127.78.0.33"), ip_address("127.77.0.1"), ip_address("::1")):
        assert capture.slot_of(other, lib.TG_DNS_SLOTS) is None


def test_abi_header_keeps_to_its_subset() -> None:
    """No attributes, bit-fields, pointers or numbers in #define: cffi would read them wrongly or not at all."""
    text = re.sub(r"/\*.*?\*/", "", (INCLUDE / "tg_abi.h").read_text(), flags=re.S)
    assert "__attribute__" not in text
    assert not re.search(r"\w\s*:\s*\d+\s*;", text)
    assert not re.search(r"#define\s+\w+\s+\d", text)
    assert "*" not in text
