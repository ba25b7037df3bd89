"""What comes to a pod: who is led to Envoy, when, and what is left alone."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

UNIT = "tests/unit/compile/inbound/test_inbound.py"
KERNEL = "tests/bpf/test_inbound.py"
PLANE = "tests/unit/dataplane/test_inbound.py"
STORY = "tests/stories/routing/test_sidecar_ingress.py"

_INBOUND = Group(
    "EnvoyFilters stand in front of the ports that they change",
    (
        Mutant(
            "inbound-takes-its-own",
            "what Envoy hands on is led to Envoy again",
            "bpf/core/flow_core.h",
            "	if (tg_addr_is_loopback(&conn->remote) || tg_addr_is_loopback(&conn->local))\n",
            "	if (tg_addr_is_loopback(&conn->local))\n",
            (f"{KERNEL}::test_what_envoy_hands_on_reaches_the_application",),
        ),
        Mutant(
            "inbound-open-without-envoy",
            "while Envoy is away the application is reached past the filter",
            "bpf/lookup.bpf.c",
            "		return reason == TG_LOOKUP_DENY_INBOUND || reason == TG_LOOKUP_DENY_GUARDED ? SK_DROP : SK_PASS;\n",
            "		return reason == TG_LOOKUP_DENY_GUARDED ? SK_DROP : SK_PASS;\n",
            (f"{KERNEL}::test_without_envoy_nobody_gets_past_it",),
        ),
        Mutant(
            "inbound-of-both-families",
            "a row of one family counts for the other",
            "bpf/core/flow_core.h",
            "	key->v6 = !tg_addr_is_v4(&conn->local);\n	return 1;\n",
            "	return 1;\n",
            (f"{KERNEL}::test_what_comes_from_elsewhere_meets_envoy",),
        ),
        Mutant(
            "inbound-every-port",
            "a port of which no patch changes anything passes Envoy",
            "agent/tidegate/compile/inbound/filtered.py",
            "            if port.told or before[0] != after[0] or was != chain or cluster[1]:\n",
            "            if True:\n",
            (f"{UNIT}::test_a_filter_of_http_is_in_front_of_the_http_ports_of_its_pods",),
        ),
        Mutant(
            "ingress-at-the-dialled-port",
            "an ingress of a Sidecar hands on to the port that was dialled, where nobody listens",
            "agent/tidegate/compile/inbound/listeners.py",
            '{"upstream_port_override": it.to_port}',
            '{"upstream_port_override": it.port}',
            (f"{STORY}::test_what_comes_to_the_port_is_handed_on_to_the_endpoint",),
        ),
        Mutant(
            "inbound-row-before-envoy",
            "connections are led to a listener that Envoy does not have yet",
            "agent/tidegate/dataplane/appliers/inbound.py",
            "            todo = {port for port in todo if ready[self._wanted[port]][0] is State.APPLIED}\n",
            "            pass\n",
            (f"{PLANE}::test_a_row_comes_when_envoy_listens_and_goes_before_envoy_is_told",),
        ),
        Mutant(
            "inbound-row-outlives-listener",
            "Envoy forgets the listener while connections are led to it",
            "agent/tidegate/dataplane/order.py",
            "    PAST_INBOUND,\n    RELAY,\n    PAST_ENVOY,\n    ENVOY,\n",
            "    RELAY,\n    PAST_ENVOY,\n    ENVOY,\n    PAST_INBOUND,\n",
            (f"{PLANE}::test_a_row_comes_when_envoy_listens_and_goes_before_envoy_is_told",),
        ),
        Mutant(
            "inbound-pod-before-its-rows",
            "a new pod starts before its filter stands in front of it",
            "agent/tidegate/dataplane/appliers/enrolment.py",
            "        if state is State.PENDING:\n            return PodState.PENDING, reason\n",
            "",
            (f"{PLANE}::test_a_new_pod_is_captured_when_its_ports_are",),
        ),
        Mutant(
            "inbound-clients-stay",
            "clients keep the connections that they had before a filter came",
            "agent/tidegate/dataplane/cycle.py",
            "        if filters != self._passed:\n",
            "        if False:\n",
            (f"{PLANE}::test_clients_dial_anew_only_when_the_filter_is_in_force",),
        ),
        Mutant(
            "inbound-service-ports-only",
            "a match by the pod's own port fits nothing",
            "agent/tidegate/compile/envoy/patches/served.py",
            "        return frozenset((self.port, *(number for number, _ in self.services)))\n",
            "        return frozenset(number for number, _ in self.services)\n",
            (f"{UNIT}::test_which_port_a_match_means",),
        ),
    ),
)

GROUPS = (_INBOUND,)
