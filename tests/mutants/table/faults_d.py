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

SETTINGS = "tests/relay/test_settings.py"
NEAR = "agent/tidegate/compile/nearness.py"
UPSTREAM = "agent/relay/upstream.c"

_ENDPOINTS = Group(
    "which endpoint a client gets",
    (
        Mutant(
            "traffic-policy-local-ignored",
            "internalTrafficPolicy: Local sends clients to other nodes",
            NEAR,
            "if service.near is Near.SAME_NODE:\n        return _those(found, lambda e: e.node == here)",
            "if service.near is Near.SAME_NODE:\n        return found",
            (f"{FIELDS}::test_internal_traffic_policy_local_keeps_clients_on_their_node",),
        ),
        Mutant(
            "traffic-policy-local-on-tcp-only",
            "internalTrafficPolicy: Local holds for TCP only",
            "agent/tidegate/compile/envoy/clusters.py",
            "members = registry.near(service, in_family(",
            "members = (lambda _, found: found)(service, in_family(",
            (f"{FIELDS}::test_internal_traffic_policy_local_keeps_clients_on_their_node",),
        ),
        Mutant(
            "same-node-only",
            "PreferSameNode serves nobody where the node has no endpoint",
            NEAR,
            "return same_node or same_zone or found",
            "return same_node or same_zone",
            (f"{FIELDS}::test_prefer_same_node_goes_elsewhere_only_where_the_node_has_nobody",),
        ),
        Mutant(
            "zones-ignored",
            "PreferClose does not look at zones",
            NEAR,
            "if zone and not same_node else ()",
            "if False else ()",
            (f"{FIELDS}::test_prefer_close_stays_in_the_zone_that_nodes_say",),
        ),
        Mutant(
            "session-affinity-ignored",
            "sessionAffinity: ClientIP has no effect",
            "agent/tidegate/compile/rules.py",
            "(_STICKY if service.affinity_s else None)",
            "None",
            (f"{FIELDS}::test_session_affinity_brings_a_client_back_to_its_pod",),
        ),
        Mutant(
            "affinity-without-memory",
            "a service that is scaled up sends clients of sessionAffinity: ClientIP elsewhere",
            "agent/relay/lb.c",
            "endpoint->target->serial == serial &&",
            "endpoint->target->serial != serial && !serial &&",
            (f"{SETTINGS}::test_an_affinity_outlasts_endpoints_that_come",),
        ),
        Mutant(
            "affinity-by-place",
            "a client's endpoint depends on the order in which endpoints are told",
            "agent/relay/lb.c",
            "salt ^ fp_address_hash(&endpoint->addr, endpoint->port_be)",
            "salt ^ i",
            (f"{SETTINGS}::test_a_client_comes_back_to_its_endpoint_as_long_as_that_is_there",),
        ),
    ),
)

_SETTINGS = Group(
    "DestinationRules of TCP ports",
    (
        Mutant(
            "connection-limit-of-the-rule-ignored",
            "maxConnections of a TCP port has no effect",
            UPSTREAM,
            "if (!counter || upstream->counted)",
            "if (counter || upstream->counted)",
            (f"{SETTINGS}::test_more_connections_than_allowed_are_reset_and_one_that_ends_makes_room",),
        ),
        Mutant(
            "connection-limit-is-never-given-back",
            "a service that once had maxConnections serves nobody any more",
            UPSTREAM,
            "if (upstream->counted)\n\t\tatomic_fetch_sub_explicit(",
            "if (!upstream->timeout.due)\n\t\tatomic_fetch_sub_explicit(",
            (f"{SETTINGS}::test_attempts_that_fail_count_once_and_not_for_ever",),
        ),
        Mutant(
            "connect-timeout-of-the-rule-ignored",
            "connectTimeout of a TCP port has no effect",
            UPSTREAM,
            "(uint64_t)settings->connect_timeout_ms * 1000000;",
            "(uint64_t)settings->connect_timeout_ms * 0;",
            (f"{SETTINGS}::test_a_service_has_a_time_limit_of_its_own_for_attempts",),
        ),
        Mutant(
            "keep-alive-of-the-rule-ignored",
            "tcpKeepalive of a TCP port has no effect",
            UPSTREAM,
            "upstream->from.keepalive = service->settings.keepalive;",
            "(void)service;",
            (f"{SETTINGS}::test_an_endpoint_that_went_silent_is_noticed_by_keep_alive",),
        ),
        Mutant(
            "idle-fields-are-not-named",
            "outlierDetection of a TCP port does nothing, without a word",
            "agent/tidegate/config/kinds/effect.py",
            "if written.honoured in (Honoured.EVERYWHERE, Honoured.CONNECTIONS):",
            "if written.honoured is not Honoured.HTTP:",
            (f"{FIELDS}::test_a_rule_of_a_tcp_port_is_honoured_or_named_as_idle",),
        ),
    ),
)

WALK = "tests/unit/config/test_fields.py"

_FIELDS = Group(
    "no field is accepted and does nothing",
    (
        Mutant(
            "field-that-does-nothing",
            "retries.backoff is read and does nothing",
            "agent/tidegate/config/shapes/http_action.py",
            "backoff_ms=self.backoff or 0,",
            "backoff_ms=0,",
            (f"{WALK}::test_a_field_that_is_honoured_makes_a_difference",),
        ),
        Mutant(
            "field-that-nobody-decided-about",
            "a field of a Service is accepted without a word in docs/fields.md",
            "agent/tidegate/config/kinds/service.py",
            '"healthCheckNodePort allocate',
            '"healthCheckNodePort newField allocate',
            (f"{WALK}::test_the_page_has_every_field_and_no_other",),
        ),
        Mutant(
            "inject-true-means-nothing",
            'the label sidecar.istio.io/inject: "true" of a pod does nothing',
            "agent/tidegate/compile/enrolment.py",
            'if pod.labels.get(_INJECT) == "true" and',
            "if False and",
            ("tests/unit/compile/test_enrolment.py::test_labels",),
        ),
        Mutant(
            "unsupported-without-a-word",
            "what is not supported yet is ignored without a warning",
            "agent/tidegate/config/schema.py",
            "report.say(data, key, say.UNSUPPORTED_FIELD())",
            "pass",
            (f"{WALK}::test_a_field_that_is_warned_about_is_named",),
        ),
    ),
)

GROUPS = (_PORTS, _ENDPOINTS, _SETTINGS, _FIELDS)
