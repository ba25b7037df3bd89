"""Images as files: what is laid out, what is not laid out again, and that nobody changes it afterwards."""

from __future__ import annotations

import mmap
import os
from dataclasses import replace
from ipaddress import ip_address

import pytest

from tidegate.model.plan.relay import L4Endpoint, L4Service, L4Settings, LoadBalancing
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
    assert len(image) == 32 + 2 * 44 + 4 * 20 + 5 * 24
    last = ffi.from_buffer("struct fp_file_endpoint *", image[-24:])
    assert (bytes(last.addr.ip)[-4:], last.port_be, last.weight) == (bytes([10, 0, 0, 3]), 0x901F, 2)


def test_what_is_asked_of_connections_is_in_the_row() -> None:
    settings = L4Settings(
        connect_timeout_ms=1,
        max_connections=2,
        keepalive_time_s=3,
        keepalive_interval_s=4,
        keepalive_probes=5,
        affinity_s=7,
    )
    image = ImageWriter().lay_out(7, [replace(service(1), settings=settings, counted_as=6)])
    row = ffi.from_buffer("struct fp_file_service *", image[32 : 32 + ffi.sizeof("struct fp_file_service")])
    told, keepalive = row.settings, row.settings.keepalive
    assert (told.connect_timeout_ms, told.max_connections, told.counted_as, told.affinity_s) == (1, 2, 6, 7)
    assert (keepalive.time_s, keepalive.interval_s, keepalive.probes) == (3, 4, 5)


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
    assert first[32:] == second[32:]
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
