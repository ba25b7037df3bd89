"""The services of one generation as the sealed file that the relay reads (layout: agent/relay/relay_abi.h)."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from socket import htons

from tidegate.errors import Rejected
from tidegate.model.net import IPAddress, to_wire
from tidegate.model.plan.relay import L4Endpoint, L4Service
from tidegate.relay.abi import ffi, lib
from tidegate.relay.image_routes import NO_ROUTES, Routes, lay_out_routes

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


@dataclass(frozen=True, slots=True)
class _Rows:
    service: L4Service  # kept, so that its id() stays its own
    head: bytes
    addresses: bytes
    endpoints: bytes
    endpoint_count: int
    routes: Routes


class ImageWriter:
    """Lays images out. A service that is the same object as last time is not laid out again."""

    def __init__(self) -> None:
        self._known: dict[int, _Rows] = {}

    def lay_out(self, generation: int, services: Sequence[L4Service]) -> bytes:
        """The file's bytes. Raises Rejected if it would be larger than the relay takes."""
        rows = [self._known.get(id(service)) or _rows(service) for service in services]
        self._known = {id(row.service): row for row in rows}
        head = ffi.new("struct fp_file_head *")
        head.magic, head.version, head.generation = lib.FP_FILE_MAGIC, lib.FP_ABI_VERSION, generation
        head.services = len(services)
        head.addresses = sum(len(service.addresses) for service in services)
        head.endpoints = sum(row.endpoint_count for row in rows)
        routes = [row.routes for row in rows if row.routes is not NO_ROUTES]
        for table in Routes.TABLES:
            setattr(head, table, sum(found.count(table) for found in routes))
        parts = [
            bytes(ffi.buffer(head)),
            *(r.head for r in rows),
            *(r.addresses for r in rows),
            *(r.endpoints for r in rows),
            *(found.rows(table) for table in Routes.TABLES for found in routes),
        ]
        image = b"".join(parts)
        if len(image) > lib.FP_IMAGE_MAX:
            raise Rejected(
                f"relay services of generation {generation}", f"are {len(image)} bytes", f"at most {lib.FP_IMAGE_MAX}"
            )
        return image


def seal(image: bytes) -> int:
    """A memfd with these bytes that nobody can change any more; the caller closes it. Raises OSError."""
    fd = os.memfd_create("tidegate-image", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(image)
        while view:
            view = view[os.write(fd, view) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _rows(service: L4Service) -> _Rows:
    head = ffi.new("struct fp_file_service *")
    head.number, head.lb = service.number, service.balancing
    where = [place for endpoint in service.endpoints for place in _places(endpoint)]
    head.addresses, head.endpoints, head.views = len(service.addresses), len(where), len(service.views)
    settings, wanted = head.settings, service.settings
    settings.connect_timeout_ms, settings.max_connections = wanted.connect_timeout_ms, wanted.max_connections
    settings.affinity_s, settings.idle_ms, settings.duration_ms = wanted.affinity_s, wanted.idle_ms, wanted.duration_ms
    if (rule := wanted.outlier) is not None:
        outlier = settings.outlier
        outlier.failures, outlier.base_ms, outlier.interval_ms = rule.failures, rule.base_ms, rule.interval_ms
        outlier.most_percent, outlier.panic_percent = rule.most_percent, rule.panic_percent
    settings.counted_as, settings.keepalive.time_s = service.counted_as, wanted.keepalive_time_s
    settings.keepalive.interval_s, settings.keepalive.probes = wanted.keepalive_interval_s, wanted.keepalive_probes
    addresses = ffi.new("struct fp_file_address[]", len(service.addresses))
    for index, (address, port) in enumerate(service.addresses):
        row = addresses[index]
        row.addr.ip, row.port_be = to_wire(address), htons(port)
    endpoints = ffi.new("struct fp_file_endpoint[]", len(where))
    for index, (address, port, other, weight) in enumerate(where):
        row = endpoints[index]
        row.addr.ip, row.port_be, row.other, row.weight = to_wire(address), htons(port), other, weight
    parts = (bytes(ffi.buffer(part)) for part in (head, addresses, endpoints))
    return _Rows(service, next(parts), next(parts), next(parts), len(where), lay_out_routes(service.views))


def _places(endpoint: L4Endpoint) -> Iterator[tuple[IPAddress, int, bool, int]]:
    """Address, port, whether it is the other one, weight: a row each."""
    yield endpoint.address, endpoint.port, False, endpoint.weight
    if endpoint.other:
        yield endpoint.other, endpoint.port, True, 0
