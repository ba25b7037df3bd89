"""What a DestinationRule says of ports that are not HTTP, where the relay cannot do it and Envoy carries the port."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

UNIT = "tests/unit/compile/test_carried.py"
KEPT = "tests/unit/dataplane/test_kept_chains.py"
REAL = "tests/envoy/test_carried_connections.py"
STORY = "tests/stories/routing/test_carried_connections.py"
CARRIED = "agent/tidegate/compile/l4/carried.py"
FORWARDS = "agent/tidegate/compile/outbound/forwards.py"
SEEN = "agent/tidegate/compile/outbound/seen.py"
SOCKET = "agent/tidegate/compile/envoy/upstream_tls.py"

_WHO = Group(
    "Envoy carries a TCP port for the clients whose policy asks for it, and for nobody else",
    (
        Mutant(
            "tls-of-tcp-ports-left-to-the-relay",
            "a rule that says TLS leaves a TCP port in plain text",
            CARRIED,
            "    tls = policy.tls is not None and policy.tls.originates\n",
            "    tls = False\n",
            (f"{UNIT}::test_who_serves_a_port_says_its_policy",),
        ),
        Mutant(
            "targets-of-tcp-routes-unasked",
            "a route leads a part of the connections to where TLS should begin, in plain text",
            CARRIED,
            "        yield from (target for target, _ in used(condition.candidate.route.targets))\n",
            "        yield from ()\n",
            (f"{UNIT}::test_a_route_that_leads_there_splits_by_weight",),
        ),
        Mutant(
            "a-rule-for-some-is-nobodys",
            "a pod that a rule selects goes where everybody goes",
            SEEN,
            "    return (blake2s(",
            "    return () and (blake2s(",
            (f"{UNIT}::test_a_rule_for_some_pods_is_theirs_alone",),
        ),
        Mutant(
            "explain-of-everybody",
            "explain tells a pod everybody's tier",
            "agent/tidegate/compile/explain/trace.py",
            "there if there is Tier.REFUSE else serving(self._read, claim, self._source)",
            "there",
            (f"{UNIT}::test_explain_is_about_the_pod_that_asks",),
        ),
    ),
)

_HOW = Group(
    "what Envoy carries goes to the cluster of the port, as the rule says",
    (
        Mutant(
            "a-chain-for-every-address",
            "whatever has the port number gets the chain of one service",
            FORWARDS,
            '"prefix_ranges": list(ranges(forward.addresses)),\n        **asked',
            '"prefix_ranges": [],\n        **asked',
            (f"{UNIT}::test_a_chain_is_for_what_was_dialled_and_leads_to_the_cluster_of_the_port",),
        ),
        Mutant(
            "an-hour-without-a-byte",
            "Envoy ends connections of which no rule says how long they may be idle",
            FORWARDS,
            "        idle_timeout=duration(forward.idle_ms),\n",
            "",
            (f"{UNIT}::test_a_chain_is_for_what_was_dialled_and_leads_to_the_cluster_of_the_port",),
        ),
        Mutant(
            "no-name-in-the-handshake",
            "a server with several certificates shows another's",
            SOCKET,
            "tls=replace(tls, sni=name, names=names)",
            "tls=replace(tls, names=names)",
            (f"{REAL}::test_which_servers_are_believed",),
        ),
        Mutant(
            "any-certificate-of-the-world",
            "without authorities of the rule's own every certificate of a known one is believed",
            SOCKET,
            "(name,) if name and not (tls.ca or tls.credential) and tls.verify else ()",
            "()",
            (f"{UNIT}::test_where_no_request_names_a_host_the_service_does",),
        ),
        Mutant(
            "carried-from-the-node",
            "a server sees the node in place of the pod",
            FORWARDS,
            "    sockets = [pod_sockets(netns_path, secret)] if netns_path else []\n",
            "    sockets: list[Json] = []\n",
            (f"{STORY}::test_a_server_that_speaks_first_sees_the_pod_and_its_certificate",),
        ),
    ),
)

_AFTER = Group(
    "a rule goes: the relay has the port, and connections that live go on",
    (
        Mutant(
            "chains-go-with-their-rule",
            "Envoy ends what it carried a while after the rule is gone",
            "agent/tidegate/dataplane/appliers/kept_chains.py",
            "    if not kept:\n",
            "    if True:\n",
            (KEPT, f"{REAL}::test_a_connection_outlives_the_rule_by_which_envoy_carries_it"),
        ),
        Mutant(
            "chains-of-two-rules-at-once",
            "a chain that is kept stands beside the one that took its place, and Envoy refuses the listener",
            "agent/tidegate/dataplane/appliers/kept_chains.py",
            '        and chain["name"] not in names\n        and taken.isdisjoint(_places(chain))\n',
            "",
            (f"{KEPT}::test_a_new_chain_for_the_same_connections_takes_its_place",),
        ),
    ),
)

GROUPS = (_WHO, _HOW, _AFTER)
