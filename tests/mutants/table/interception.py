"""Connections: which are captured, who sees which address, which are left alone."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

ADDRESSES = "tests/netns/test_addresses.py"
VIP = f"{ADDRESSES}::test_service_vip_is_relayed_and_nobody_notices"

GROUPS = (
    Group(
        "Service VIP over IPv4, IPv6 and v4-mapped sockets",
        (
            Mutant(
                "v4-capture-off",
                "an IPv4 connection to a Service is not captured: it goes to an address that leads nowhere",
                "bpf/connect.bpf.c",
                "\t\tctx->user_ip4 = tg_addr_word(&out.to, 3);\n\t\tctx->user_port = out.to_port_be;\n",
                "",
                (f"{VIP}[4]",),
            ),
        ),
    ),
)
