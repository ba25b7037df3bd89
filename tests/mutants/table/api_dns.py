"""Names: what the node's DNS answers, and what becomes of questions when it cannot."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

NAMES = "agent/tidegate/dns/names.py"
COMPILED = "agent/tidegate/compile/names.py"
WIRE = "agent/tidegate/dns/wire.py"
HANDING = "agent/tidegate/dns/handing.py"
APPLIER = "agent/tidegate/dataplane/appliers/dns.py"
CORE = "bpf/core/dns_core.h"
UNIT = "tests/unit/dns/test_names.py"
MESSAGES = "tests/unit/dns/test_wire.py"
KERNEL = "tests/bpf/test_dns.py"
PROCESS = "tests/bpf/test_dns_process.py"
TOLD = "tests/unit/dataplane/test_dns.py"

_ANSWERS = Group(
    "names are answered as the registry has them, and nobody else's are",
    (
        Mutant(
            "dns-search-list-waits",
            "a name with a search list appended is the resolver's, which may be silent",
            NAMES,
            "                yield short\n",
            "",
            (f"{UNIT}::test_what_a_search_list_makes_of_a_name_is_answered_at_once",),
        ),
        Mutant(
            "dns-hidden-host-told",
            "a host that is not exported to a namespace is answered there",
            NAMES,
            "return not host.visible or namespace in host.visible",
            "return True",
            (f"{UNIT}::test_a_host_that_is_not_exported_to_a_namespace_is_not_known_there",),
        ),
        Mutant(
            "dns-https-record-passes-by",
            "the outside says by an HTTPS record how a host of the mesh is reached",
            NAMES,
            "return KnownName(ttl=ttl) if kind in NONE_OF_THESE else None",
            "return None",
            (f"{UNIT}::test_nobody_else_says_how_a_host_of_the_mesh_is_reached",),
        ),
        Mutant(
            "dns-unready-server-named",
            "a server that is not ready has a name",
            COMPILED,
            "if pod.ips and (pod.ready or service.publish_not_ready):",
            "if pod.ips:",
            ("tests/unit/compile/test_names.py::test_a_headless_service_has_its_ready_servers_by_their_own_names",),
        ),
        Mutant(
            "explain-headless-name-is-nowhere",
            "explain says that a headless name leads nowhere, which DNS answers",
            "agent/tidegate/compile/explain/names.py",
            "for server in self._read(servers_of, service.id.fqdn) for",
            "for server in self._read(servers_of, service.id.fqdn)[:0] for",
            (
                "tests/unit/compile/test_names.py::test_explain_of_a_headless_name_starts_at_any_server_that_dns_answers",
            ),
        ),
        Mutant(
            "dns-first-server-always",
            "all who take the first address of an answer go to one server",
            WIRE,
            "at = self.starts[int(chance * len(self.starts))]",
            "at = self.starts[0]",
            (f"{MESSAGES}::test_several_servers_take_turns_and_are_made_an_answer_of_once",),
        ),
        Mutant(
            "dns-answer-made-each-time",
            "who asks for a name with a thousand servers holds up all others each time",
            "agent/tidegate/dns/answers.py",
            "                self._remember(key, known)\n",
            "                pass\n",
            (f"{MESSAGES}::test_several_servers_take_turns_and_are_made_an_answer_of_once",),
        ),
        Mutant(
            "dns-room-for-edns-forgotten",
            "an answer over UDP is longer than its asker takes",
            WIRE,
            "size = len(bare) + len(alias)",
            "size = begin + len(alias)",
            (f"{MESSAGES}::test_as_many_as_fit_are_told_over_udp_to_the_last_byte",),
        ),
        Mutant(
            "dns-long-questions-remembered",
            "a pod fills the process's memory with what it adds to questions",
            "agent/tidegate/dns/answers.py",
            "if len(message) <= wire.UDP_MAX:",
            "if message:",
            (f"{MESSAGES}::test_a_long_question_is_answered_and_not_remembered",),
        ),
        Mutant(
            "dns-explained-as-any-port",
            "explain says that a question goes where its resolver's other ports go",
            "agent/tidegate/compile/explain/trace.py",
            "            if self._dns:\n",
            "            if False:\n",
            (
                "tests/unit/compile/test_explain.py::"
                "test_a_question_goes_to_the_nodes_dns_whatever_else_is_known_of_the_resolver",
            ),
        ),
        Mutant(
            "dns-dot-in-label",
            "a label with a dot in it is taken for two labels",
            WIRE,
            'or b"." in label or',
            "or",
            (f"{MESSAGES}::test_a_dot_inside_a_label_is_not_taken_for_two_labels",),
        ),
    ),
)
_AWAY = Group(
    "with the node's DNS away a pod has the names that it has without a mesh",
    (
        Mutant(
            "dns-old-beat-counts",
            "a process that was stopped goes on getting the questions",
            CORE,
            "return dns->beat_ns && now_ns - dns->beat_ns <= (uint64_t)TG_DNS_STALE_MS * 1000000;",
            "return dns->beat_ns && now_ns != 0;",
            (
                f"{KERNEL}::test_an_old_beat_is_none",
                f"{KERNEL}::test_a_stopped_dns_leaves_questions_to_the_resolver",
            ),
        ),
        Mutant(
            "dns-own-questions-captured",
            "the node's DNS asks itself",
            CORE,
            " || in->cgroup == dns->cgroup)",
            " || (in->cgroup == dns->cgroup && !dns->beat_ns))",
            (f"{KERNEL}::test_its_own_questions_are_left_alone",),
        ),
        Mutant(
            "dns-takes-clients-ports",
            "a program of the pod cannot listen on a port that the node's DNS happens to have",
            "agent/tidegate/dns/sockets.py",
            "return _bound_to(address, kind, port)",
            "return _bound_to(address, kind, 0)",
            (f"{KERNEL}::test_its_sockets_take_no_port_but_ours_unless_somebody_has_that",),
        ),
        Mutant(
            "dns-refusal-swallowed",
            "a resolver that refuses is one that is silent",
            HANDING,
            "            self._fail(asked.question, asked.back)\n",
            "",
            (f"{PROCESS}::test_a_resolver_that_refuses_is_told_as_a_failure",),
        ),
        Mutant(
            "dns-new-process-told-nothing",
            "a process that was started anew has no names",
            APPLIER,
            "self._process, self._names, self._pods = process, None, {}",
            "self._process = process",
            (f"{TOLD}::test_a_new_process_is_told_everything_and_pods_that_live_keep_their_resolvers",),
        ),
    ),
)

GROUPS = (_ANSWERS, _AWAY)
