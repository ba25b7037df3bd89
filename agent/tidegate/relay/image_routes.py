"""The routes of a service as rows of an image (layout: agent/relay/relay_abi.h)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from tidegate.model.net import wire_prefix
from tidegate.model.plan.relay import L4Rule, L4View
from tidegate.relay.abi import ffi


@dataclass(frozen=True, slots=True)
class Routes:
    """Rows of each table, in its order; tables are named as in struct fp_file_head."""

    TABLES: ClassVar[tuple[str, ...]] = ("views", "clients", "rules", "subnets", "names", "targets")
    laid_out: dict[str, list[bytes]] = field(default_factory=dict)

    def add(self, table: str, **columns: Any) -> None:
        """One row; columns that are left out are 0."""
        row = ffi.new(f"struct fp_file_{table.removesuffix('s')} *")
        for name, value in columns.items():
            setattr(row, name, value)
        self.laid_out.setdefault(table, []).append(bytes(ffi.buffer(row)))

    def count(self, table: str) -> int:
        return len(self.laid_out.get(table, ()))

    def rows(self, table: str) -> bytes:
        return b"".join(self.laid_out.get(table, ()))


NO_ROUTES: Final = Routes()


def lay_out_routes(views: Sequence[L4View]) -> Routes:
    """The rows of a service's views."""
    if not views:
        return NO_ROUTES
    out = Routes()
    for view in views:
        out.add("views", clients=len(view.clients), rules=len(view.rules))
        for cookie in view.clients:
            out.add("clients", netns_cookie=cookie)
        for rule in view.rules:
            _lay_out_rule(out, rule)
    return out


def _lay_out_rule(out: Routes, rule: L4Rule) -> None:
    out.add("rules", subnets=len(rule.subnets), names=len(rule.names), targets=len(rule.targets))
    for subnet in rule.subnets:
        address, bits = wire_prefix(subnet)
        out.add("subnets", addr={"ip": address}, bits=bits)
    for name in rule.names:
        out.add("names", text=name.encode())
    for target in rule.targets:
        out.add("targets", number=target.number, weight=target.weight)
