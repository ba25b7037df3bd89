"""Policies hold in front of the pod, and the kernel says who calls."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

KERNEL = "tests/bpf/test_guards.py"
RELAY = "tests/relay/test_guarded.py"
VECTORS = "tests/bpf/test_decisions.py::test_arrivals"
PLANE = "tests/unit/dataplane/test_policies.py"
FLOW_CORE = "bpf/core/flow_core.h"
SOCKOPS = "bpf/sockops.bpf.c"

_LED = Group(
    "whatever comes to a pod of whom a policy speaks is judged",
    (
        Mutant(
            "guard-open-without-relay",
            "while the relay is away a pod is reached past its policies",
            "bpf/lookup.bpf.c",
            " || reason == TG_LOOKUP_DENY_GUARDED ? SK_DROP : SK_PASS;\n",
            " ? SK_DROP : SK_PASS;\n",
            (f"{KERNEL}::test_a_connection_that_nobody_took_leaves_no_record",),
        ),
        Mutant(
            "probe-of-any-port",
            "any process of the node reaches every port of a guarded pod",
            FLOW_CORE,
            "	probe = in->probed && in->node && in->caller == in->node;\n",
            "	probe = in->node && in->caller == in->node;\n",
            (VECTORS, f"{KERNEL}::test_the_nodes_probes_pass_at_their_ports"),
        ),
        Mutant(
            "unknown-caller-is-the-node",
            "where nobody is the node, whoever is not known passes as its probe",
            FLOW_CORE,
            "	probe = in->probed && in->node && in->caller == in->node;\n",
            "	probe = in->probed && in->caller == in->node;\n",
            (VECTORS,),
        ),
        Mutant(
            "filters-before-policies",
            "where an EnvoyFilter stands in front of a port, no policy is asked",
            FLOW_CORE,
            "	if (in->guarded && in->caller != in->own && !probe)\n",
            "	if (in->guarded && in->caller != in->own && !probe && !in->inbound)\n",
            (VECTORS, f"{KERNEL}::test_behind_the_relay_envoy_is_next"),
        ),
        Mutant(
            "rows-before-callers",
            "who calls a pod in the moment in which its policies come has no identity",
            "agent/tidegate/model/plan/kernel.py",
            "        return 0 if self.address is not None else 1 if self.port else 2\n",
            "        return 2 if self.address is not None else 1 if self.port else 0\n",
            (f"{PLANE}::test_rows_come_after_the_relay_knows_and_callers_first",),
        ),
        Mutant(
            "pod-before-its-policies",
            "a new pod may be reached before its policies lead anybody to the relay",
            "agent/tidegate/dataplane/appliers/enrolment.py",
            "        if cookie not in self._shadow.pods and not plan.guards <= self._shadow.judged:\n",
            "        if cookie not in self._shadow.pods and plan.guards == self._shadow.judged == 0:\n",
            (f"{PLANE}::test_a_new_pod_whose_rows_are_refused_is_not_captured",),
        ),
        Mutant(
            "rows-wait-for-the-relay",
            "while no relay is there a new policy holds for nobody",
            "agent/tidegate/dataplane/appliers/policies.py",
            "        self._refused = await self._change(self._wanted - self._shadow.judged, self._shadow.judge)\n",
            "        self._refused = {}\n",
            (f"{PLANE}::test_without_a_relay_the_pod_is_closed_and_the_status_says_so",),
        ),
    ),
)

_CALLERS = Group(
    "who calls is the kernel's word, and nobody else is taken for him",
    (
        Mutant(
            "caller-by-addresses",
            "whoever has the addresses of an earlier connection has its identity",
            SOCKOPS,
            "		tg_count(TG_SOCKOPS_CALL_FAILED);\n	bpf_map_delete_elem(&tg_callers, &key);\n",
            "		tg_count(TG_SOCKOPS_CALL_FAILED);\n",
            (f"{KERNEL}::test_the_same_addresses_later_are_not_taken_for_who_had_them",),
        ),
        Mutant(
            "caller-that-nobody-accepted-stays",
            "the record of a refused connection is the next one's of the same addresses",
            SOCKOPS,
            "	if (caller && caller->id == tg_flow_id(bpf_get_socket_cookie(ops)))\n",
            "	if (caller && !caller->id)\n",
            (f"{KERNEL}::test_a_connection_that_nobody_took_leaves_no_record",),
        ),
        Mutant(
            "everybody-is-the-server",
            "whoever calls a pod is taken for the pod itself",
            "agent/relay/conn.c",
            "	fp_policies_name(policies, flow->caller, &subject.name);\n",
            "	fp_policies_name(policies, flow->caller ? flow->caller : conn->sandbox->cookie, &subject.name);\n",
            ("tests/stories/policy/test_policies.py::test_strict_refuses_who_is_in_no_mesh",),
        ),
        Mutant(
            "nobody-is-shown",
            "an application behind policies sees its own pod as its client",
            "agent/relay/dial.c",
            "	if (!rc && !fp_addr_is_unset(&from->called_for))\n",
            "	if (!rc && fp_addr_equal(&from->called_for, addr))\n",
            (f"{RELAY}::test_whom_a_policy_allows_reaches_the_application_which_sees_him",),
        ),
    ),
)

_LIVE = Group(
    "connections that live are judged by what holds now",
    (
        Mutant(
            "live-ones-keep-what-they-were-allowed",
            "a new policy cuts nobody",
            "agent/relay/judging.c",
            "	conns->policies = policies;\n	while (!fp_list_empty(&conns->judged)) {\n",
            "	conns->policies = policies;\n	while (!fp_list_empty(&conns->judged) && !policies) {\n",
            (f"{RELAY}::test_a_change_cuts_exactly_those_that_it_denies",),
        ),
        Mutant(
            "the-carried-are-not-judged",
            "a connection that another thread carries outlives the policy that denies it",
            "agent/relay/moving.c",
            "	if (conn->flow.inbound)\n",
            "	if (conn->flow.inbound && !conn->flow.caller)\n",
            (f"{RELAY}::test_one_that_pours_is_cut_where_it_is_carried",),
        ),
        Mutant(
            "a-client-elsewhere-is-gone",
            "who ends his direction first is cut, since the server's pod does not know his socket",
            "agent/relay/conn.c",
            "!client->ops->socket || conn->flow.inbound)\n",
            "!client->ops->socket)\n",
            (f"{RELAY}::test_a_client_elsewhere_that_ends_its_direction_is_waited_for",),
        ),
        Mutant(
            "earlier-by-address",
            "who has a client's address keeps a connection of before that its policy denies",
            "agent/tidegate/dataplane/earlier.py",
            "any((s.local, s.remote) == (one.remote, one.local) for s in ",
            "any(s.local[0] == one.remote[0] for s in ",
            ("tests/unit/dataplane/test_earlier.py::test_those_that_the_first_policy_denies_are_ended",),
        ),
        Mutant(
            "earlier-ones-that-the-pod-made",
            "a pod's own connections to others are ended by the policies that are for it",
            "agent/tidegate/dataplane/earlier.py",
            "            if one.local[1] in found.listening and not own and",
            "            if one.local[1] and not own and",
            ("tests/unit/dataplane/test_earlier.py::test_those_that_the_first_policy_denies_are_ended",),
        ),
        Mutant(
            "earlier-ones-judged-once",
            "a second policy cuts nobody who was there before the first",
            "agent/tidegate/dataplane/appliers/policies.py",
            "        due = led if table is not plan.policies else led - before\n",
            "        due = led - before\n",
            ("tests/unit/dataplane/test_earlier.py::test_they_are_judged_again_when_policies_change_and_only_then",),
        ),
    ),
)

GROUPS = (_LED, _CALLERS, _LIVE)
