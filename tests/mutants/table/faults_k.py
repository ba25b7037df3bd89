"""What cannot be served is not captured, and what the kernel's books say of connections alike."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

WRITTEN = "tests/stories/capture/test_written_endpoints.py"
FOUND = "tests/unit/compile/outbound/test_destinations.py"

_UNSERVED = Group(
    "a Service is captured only if it is known who serves it, and refused if it is known that nobody does",
    (
        Mutant(
            "unknown-endpoints-captured",
            "a Service without selector and slices is captured, and its connections are lost",
            "agent/tidegate/compile/registry.py",
            "    return bool(service.selector) or read(SLICES_BY_SERVICE, service.id.fqdn) is not None\n",
            "    return True\n",
            (
                f"{FOUND}::test_a_virtual_address_of_which_nothing_is_known_is_left_alone",
                f"{WRITTEN}::test_a_virtual_address_of_which_nothing_is_known_is_left_to_who_knows_it",
            ),
        ),
        Mutant(
            "slices-unread",
            "endpoints that are written down are not used",
            "agent/tidegate/compile/registry.py",
            "            yield from one.endpoints\n",
            "            yield from ()\n",
            (
                f"{FOUND}::test_a_service_whose_endpoints_are_written_down_is_served",
                f"{WRITTEN}::test_a_database_outside_of_the_cluster_is_reached_by_its_service",
            ),
        ),
        Mutant(
            "draining-always-taken",
            "endpoints that end get new connections although others are ready",
            "agent/tidegate/compile/registry.py",
            "    ready = [(e, number) for e, number in those if e.ready]\n",
            "    ready = [(e, number) for e, number in those if e.ready or e.draining]\n",
            (f"{FOUND}::test_conditions_mean_what_they_mean_to_kube_proxy",),
        ),
        Mutant(
            "nobody-ready-accepted",
            "connect() to a Service of which nobody is ready succeeds, and is reset later",
            "agent/tidegate/compile/outbound/destinations.py",
            "            tier = Tier.REFUSE if (address, claim.port.port) in empty else claim.tier\n",
            "            tier = claim.tier\n",
            (
                f"{FOUND}::test_what_no_endpoint_serves_is_refused_by_the_kernel_but_http_may_be_routed_elsewhere",
                f"{WRITTEN}::test_nobody_is_ready_so_connect_is_refused_and_udp_is_not_our_business",
            ),
        ),
        Mutant(
            "refusal-passes",
            "the connect hook lets a connection out of which it knows that nobody serves it",
            "bpf/core/connect_core.h",
            " || reason == TG_DENY_NO_ENDPOINT ?",
            " ?",
            ("tests/bpf/test_decisions.py::test_kernel_and_oracle_agree_on_random_calls",),
        ),
    ),
)

GROUPS = (_UNSERVED,)
