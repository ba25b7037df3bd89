"""Connections to whole ranges of addresses, and to whoever was dialled."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

RANGES = "tests/unit/compile/test_ranges.py"
REACH = "tests/stories/documents/edges/test_reach.py"
ENTRIES = "tests/stories/routing/test_service_entries.py"
DECISIONS = "tests/bpf/test_decisions.py"

GROUPS: tuple[Group, ...] = (
    Group(
        "a host that no address names is meant by what the client says",
        (
            Mutant(
                "range-not-marked",
                "Envoy takes connections to a range for those to an address of its own: 404",
                "bpf/core/names_core.h",
                "\tif (flow->flags & TG_FLOW_RANGE)\n\t\tshown_be = mark_be;\n\telse if",
                "\tif",
                (DECISIONS,),
            ),
            Mutant(
                "range-mark-forged",
                "a client that binds port 1 is served as if a range had led it to Envoy",
                "bpf/core/names_core.h",
                "\t\tshown_be = TG_BE16(TG_RANGE_CLIENT_PORT + 1);\n",
                "\t\tshown_be = 0;\n",
                (DECISIONS,),
            ),
            Mutant(
                "range-of-every-scope",
                "a pod is captured for a range of which no host exists for it",
                "bpf/core/connect_core.h",
                "\tkey->scope = (uint8_t)scope;\n\ttg_addr_copy(&key->addr, &in->dst);\n",
                "\tkey->scope = (uint8_t)(scope & 0);\n\ttg_addr_copy(&key->addr, &in->dst);\n",
                (DECISIONS,),
            ),
            Mutant(
                "ports-closed-for-others",
                "a rule by which Envoy carries TCP to one service closes HTTP at that port of all others",
                "agent/tidegate/compile/outbound/listeners.py",
                "    if not ports or plain is None:\n",
                "    if True:\n",
                ("tests/unit/compile/test_carried.py",),
            ),
            Mutant(
                "wider-range-wins",
                "of two ranges the wider one has an address",
                "agent/tidegate/compile/ranges.py",
                "    return max(those, key=lambda r: r.place[1], default=None)\n",
                "    return min(those, key=lambda r: r.place[1], default=None)\n",
                (RANGES,),
            ),
            Mutant(
                "registry-only-passes-unknown-names",
                "where only the registry may be reached TLS for any name goes on",
                "agent/tidegate/compile/l4/ranges.py",
                "    if not registry_only(read, source.sidecar):\n",
                "    if True:\n",
                (RANGES,),
            ),
            Mutant(
                "registry-only-passes-unknown-hosts",
                "where only the registry may be reached requests for any host go on",
                "agent/tidegate/compile/compiler.py",
                "        others = refusal() if registry_only(read, source.sidecar) else past(mesh_config(read))\n",
                "        others = past(mesh_config(read))\n",
                (RANGES,),
            ),
            Mutant(
                "number-forgotten",
                "the relay knows no service of a range: its connections are reset",
                "agent/relay/image.c",
                "find_place(image->numbered, image->numbered_count, number)",
                "find_place(image->numbered, 0, number)",
                ("tests/relay/test_routes.py",),
            ),
            Mutant(
                "headless-rules-idle",
                "a DestinationRule of a headless Service has no effect on TCP ports",
                "agent/tidegate/compile/outbound/destinations.py",
                "    return Tier.DIRECT if service.headless and not _ruled(read, service, port) else Tier.FASTPATH\n",
                "    return Tier.DIRECT if service.headless else Tier.FASTPATH\n",
                (ENTRIES,),
            ),
        ),
    ),
)
