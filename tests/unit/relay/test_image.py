"""Images as files: what is laid out, what is not laid out again, and that nobody changes it afterwards."""

from __future__ import annotations

import mmap
import os
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from tidegate.model.net import parse_network
from tidegate.model.plan.relay import (
    L4Endpoint,
    L4Outlier,
    L4Rule,
    L4Service,
    L4Settings,
    L4Target,
    L4View,
    LoadBalancing,
)
from tidegate.relay.abi import ffi, lib
from tidegate.relay.image import ImageWriter, seal


def service(number: int, endpoints: int = 2) -> L4Service:
    return L4Service(
        number=number,
        name=f"s{number}",
        addresses=((ip_address(f"10.96.0.{number}"), 80), (ip_address(f"fd77::{number}"), 80)),
        balancing=LoadBalancing.RANDOM,
        endpoints=tuple(L4Endpoint(ip_address(f"10.0.0.{i + 1}"), 8080, i) for i in range(endpoints)),
    )


def test_tables_follow_each_other() -> None:
    image = ImageWriter().lay_out(7, [service(1), service(2, 3)])
    head = ffi.from_buffer("struct fp_file_head *", image[: ffi.sizeof("struct fp_file_head")])
    assert (head.magic, head.version, head.generation) == (lib.FP_FILE_MAGIC, lib.FP_ABI_VERSION, 7)
    assert (head.services, head.addresses, head.endpoints) == (2, 4, 5)
    assert len(image) == 56 + 2 * 76 + 4 * 20 + 5 * 24
    last = ffi.from_buffer("struct fp_file_endpoint *", image[-24:])
    assert (bytes(last.addr.ip)[-4:], last.port_be, last.weight) == (bytes([10, 0, 0, 3]), 0x901F, 2)


def test_an_endpoint_with_a_second_address_takes_two_rows() -> None:
    both = L4Endpoint(ip_address("fd00::1"), 8080, other=ip_address("10.0.0.1"))
    one = L4Service(1, "s", ((ip_address("fd77::1"), 80),), LoadBalancing.RANDOM, (both,))
    image = ImageWriter().lay_out(1, [one])
    head = ffi.from_buffer("struct fp_file_head *", image[: ffi.sizeof("struct fp_file_head")])
    size = ffi.sizeof("struct fp_file_endpoint")
    first, second = (ffi.from_buffer("struct fp_file_endpoint *", image[-n * size :][:size]) for n in (2, 1))
    assert head.endpoints == 2
    assert (first.other, first.weight, bytes(first.addr.ip)[:2]) == (0, 1, b"\xfd\0")
    assert (second.other, second.weight, bytes(second.addr.ip)[-4:], second.port_be) == (
        1,
        0,
        bytes([10, 0, 0, 1]),
        0x901F,
    )


def test_what_is_asked_of_connections_is_in_the_row() -> None:
    settings = L4Settings(
        connect_timeout_ms=1,
        max_connections=2,
        keepalive_time_s=3,
        keepalive_interval_s=4,
        keepalive_probes=5,
        affinity_s=7,
        idle_ms=8,
        duration_ms=9,
        outlier=L4Outlier(failures=10, base_ms=11, interval_ms=12, most_percent=13, panic_percent=14),
    )
    image = ImageWriter().lay_out(7, [replace(service(1), settings=settings, counted_as=6)])
    row = ffi.from_buffer("struct fp_file_service *", image[56 : 56 + ffi.sizeof("struct fp_file_service")])
    told, keepalive = row.settings, row.settings.keepalive
    assert (told.connect_timeout_ms, told.max_connections, told.counted_as, told.affinity_s) == (1, 2, 6, 7)
    assert (keepalive.time_s, keepalive.interval_s, keepalive.probes) == (3, 4, 5)
    outlier = told.outlier
    assert (told.idle_ms, told.duration_ms, outlier.failures, outlier.base_ms) == (8, 9, 10, 11)
    assert (outlier.interval_ms, outlier.most_percent, outlier.panic_percent) == (12, 13, 14)


def test_routes_follow_in_the_order_of_their_tables() -> None:
    rule = L4Rule((L4Target(2, 3), L4Target(4, 5)), names=("*.example.com",), subnets=(parse_network("10.1.0.0/16"),))
    views = (L4View((rule,), clients=(7, 9)), L4View((L4Rule((L4Target(2, 1),)),)))
    image = ImageWriter().lay_out(1, [replace(service(1, 0), addresses=(), views=views)])
    head = ffi.from_buffer("struct fp_file_head *", image[:56])
    assert (head.views, head.clients, head.rules, head.subnets, head.names, head.targets) == (2, 2, 2, 1, 1, 3)
    at = 56 + 76
    found: dict[str, list[Any]] = {}
    kept: list[bytes] = []  # what the rows are views of
    for table, count in (("view", 2), ("client", 2), ("rule", 2), ("subnet", 1), ("name", 1), ("target", 3)):
        size = ffi.sizeof(f"struct fp_file_{table}")
        raws = [image[at + i * size : at + (i + 1) * size] for i in range(count)]
        found[table] = [ffi.from_buffer(f"struct fp_file_{table} *", raw) for raw in raws]
        kept += raws
        at += size * count
    assert at == len(image)
    assert [(v.clients, v.rules) for v in found["view"]] == [(2, 1), (0, 1)]
    assert [c.netns_cookie for c in found["client"]] == [7, 9]
    assert [(r.subnets, r.names, r.targets) for r in found["rule"]] == [(1, 1, 2), (0, 0, 1)]
    [subnet], [name] = found["subnet"], found["name"]
    assert (bytes(subnet.addr.ip)[10:14], subnet.bits) == (b"\xff\xff\x0a\x01", 96 + 16)
    assert ffi.string(name.text) == b"*.example.com"
    assert [(t.number, t.weight) for t in found["target"]] == [(2, 3), (4, 5), (2, 1)]


def test_a_service_that_is_the_same_object_is_not_laid_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    import tidegate.relay.image as module

    made: list[int] = []
    original = module._rows

    def rows(service: L4Service) -> object:
        made.append(service.number)
        return original(service)

    monkeypatch.setattr(module, "_rows", rows)
    writer, kept = ImageWriter(), service(1)
    first = writer.lay_out(1, [kept, service(2)])
    second = writer.lay_out(2, [kept, service(2)])
    assert made == [1, 2, 2]
    assert first[56:] == second[56:]
    writer.lay_out(3, [])
    writer.lay_out(4, [kept])
    assert made == [1, 2, 2, 1], "nothing is kept of services that have left"


def test_nobody_changes_a_sealed_image() -> None:
    fd = seal(b"x" * 5000)
    try:
        assert os.fstat(fd).st_size == 5000
        for change in (
            lambda: os.pwrite(fd, b"y", 0),
            lambda: os.ftruncate(fd, 10),
            lambda: os.ftruncate(fd, 6000),
            lambda: mmap.mmap(fd, 5000, mmap.MAP_SHARED, mmap.PROT_WRITE),
        ):
            with pytest.raises(PermissionError):
                change()
    finally:
        os.close(fd)
