"""What fields of Services, Pods and DestinationRules ask for."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

FIELDS = "tests/stories/routing/test_service_fields.py"
POD = "agent/tidegate/config/kinds/pod.py"

_PORTS = Group(
    "names of ports",
    (
        Mutant(
            "sidecar-ports-unknown",
            "a targetPort that a sidecar names has no endpoint",
            POD,
            "(*self.containers, *(c for c in self.init_containers if c.is_sidecar))",
            "self.containers",
            (f"{FIELDS}::test_a_target_port_may_be_named_by_a_sidecar",),
        ),
        Mutant(
            "udp-port-by-name",
            "a targetPort by name takes a UDP port of that name",
            POD,
            ' if p.protocol == "TCP")',
            ")",
            (f"{FIELDS}::test_of_ports_of_one_name_the_one_of_the_services_protocol_is_meant",),
        ),
    ),
)

GROUPS = (_PORTS,)
