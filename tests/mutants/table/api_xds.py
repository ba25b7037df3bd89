"""Configuration for Envoys and gRPC clients that are not ours."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

GRPC = "tests/unit/xds/test_grpc_clients.py"
SERVER = "tests/unit/xds/test_discovery.py"
REPORTS = "tests/unit/xds/test_reports.py"
OTHERS = "tests/unit/compile/test_others.py"
ROOM = "tests/unit/compile/others"
FOREIGN_GATEWAYS = "tests/envoy/test_foreign_gateways.py"

_GRPC = Group(
    "a gRPC client without a proxy is routed as the rules say",
    (
        Mutant(
            "grpc-weights-lost",
            "calls of gRPC clients are split evenly, whatever the weights",
            "agent/tidegate/compile/others/grpc.py",
            '"weight": c["weight"]}',
            '"weight": 1}',
            (f"{GRPC}::test_calls_are_split_by_weight",),
        ),
        Mutant(
            "grpc-timeout-lost",
            "a route's timeout does not end a call of a gRPC client",
            "agent/tidegate/compile/others/grpc.py",
            'out["max_stream_duration"] = {"max_stream_duration": action["timeout"]}',
            'out["max_stream_duration"] = {"max_stream_duration": "3600s"}',
            (f"{GRPC}::test_a_timeout_ends_a_call",),
        ),
        Mutant(
            "grpc-domain-without-port",
            "a gRPC client finds no virtual host for what it dialled",
            "agent/tidegate/compile/others/grpc.py",
            "domains = [*hosts, *(host_port(host, port.port) for host in hosts)]",
            "domains = [*hosts]",
            (f"{GRPC}::test_a_service_is_dialled_by_each_spelling_of_its_name",),
        ),
        Mutant(
            "grpc-gets-what-it-refuses",
            "a rule with CORS breaks a service for gRPC clients",
            "agent/tidegate/compile/others/grpc.py",
            'out["typed_per_filter_config"] = {FAULT_FILTER: fault}',
            'out["typed_per_filter_config"] = {FAULT_FILTER: fault}\n'
            '    out.setdefault("typed_per_filter_config", route.get("typed_per_filter_config", {}))',
            (f"{GRPC}::test_what_grpc_cannot_do_of_a_rule_does_not_stand_in_its_way",),
        ),
        Mutant(
            "grpc-balancer-it-has-not",
            "a service with simple: RANDOM is gone for gRPC clients",
            "agent/tidegate/compile/others/clusters.py",
            'out["lb_policy"] = "ROUND_ROBIN"  # the one that every implementation has',
            "pass",
            (f"{GRPC}::test_every_simple_balancer_is_taken",),
        ),
        Mutant(
            "endpoints-told-twice",
            "a service with two pods at one address is gone for gRPC clients",
            "agent/tidegate/compile/others/clusters.py",
            "    if place in told:\n",
            "    if False:\n",
            (f"{OTHERS}::test_an_endpoint_that_two_pods_have_is_told_once",),
        ),
    ),
)

_ORDER = Group(
    "configuration comes before what leads to it, and goes after",
    (
        Mutant(
            "order-within-a-stream-only",
            "an Envoy with a stream for each type gets routes before their clusters, and answers 503",
            "agent/tidegate/xds/session.py",
            "        if any(peer.watches[kind].busy for peer in self._peers for kind in (CLUSTERS, ENDPOINTS)):\n"
            "            return False\n",
            "",
            (f"{SERVER}::test_the_order_holds_across_streams",),
        ),
        Mutant(
            "routes-before-clusters-are-warm",
            "an Envoy with a stream for each type gets routes to clusters without endpoints, and answers 503",
            "agent/tidegate/xds/session.py",
            "            return self.now < self._cold_since + ENDPOINTS_SECONDS\n",
            "            return False\n",
            (f"{SERVER}::test_routes_wait_until_a_new_cluster_has_endpoints",),
        ),
        Mutant(
            "clusters-go-before-routes",
            "a cluster is taken from an Envoy with a stream for each type while its routes lead there",
            "agent/tidegate/xds/session.py",
            "settled = not any(w.busy or w.surplus() for w in users) if self._peers else self._users_settled()",
            "settled = bool(self._peers) or self._users_settled()",
            (f"{SERVER}::test_the_order_holds_across_streams",),
            more=(
                (
                    "agent/tidegate/xds/session.py",
                    "unused = [name for name, ref in refs.items() if not any(held.refers_to(ref) for held in old)]",
                    "unused = [n for n, ref in refs.items() if self._peers or not any(h.refers_to(ref) for h in old)]",
                ),
            ),
            raises=("TimeoutError",),
        ),
        Mutant(
            "clusters-go-before-what-leads-there",
            "a cluster is taken from an Envoy while routes lead there: requests get 503",
            "agent/tidegate/xds/session.py",
            "        if not surplus or not settled:\n",
            "        if not surplus:\n",
            ("tests/unit/xds/test_dialects_agree.py",),
            more=(
                (
                    "agent/tidegate/xds/session.py",
                    "unused = [name for name, ref in refs.items() if not any(held.refers_to(ref) for held in old)]",
                    "unused = list(refs)",
                ),
            ),
        ),
        Mutant(
            "gateway-leads-to-nowhere",
            "a gateway has no cluster of a service that stands in its routes",
            "agent/tidegate/compile/gateway/compiler.py",
            "            return make(registry, rules, key) if key else None\n",
            "            return make(registry, rules, key) if key and key.subset else None\n",
            ("tests/unit/compile/test_deltas.py",),
        ),
        Mutant(
            "old-nonce-ignored",
            "a client that comes back with the nonce of before waits for ever",
            "agent/tidegate/xds/sotw.py",
            'nonce = message.response_nonce if watch.subscribed else ""',
            "nonce = message.response_nonce",
            (f"{SERVER}::test_a_nonce_of_an_earlier_stream_is_a_subscription",),
            raises=("TimeoutError",),
        ),
        Mutant(
            "empty-configuration-at-the-start",
            "a client that comes before the configuration was read is told that there is nothing",
            "agent/tidegate/xds/discovery.py",
            "        if self._images.facts is None:\n            await context.abort(",
            "        self._images.facts = self._images.facts or NOTHING\n"
            "        if False:\n            await context.abort(",
            (f"{SERVER}::test_nobody_is_told_anything_before_the_configuration_was_read",),
            more=(
                (
                    "agent/tidegate/xds/discovery.py",
                    "from tidegate.compile.facts import Facts\n",
                    "from tidegate.compile.facts import NOTHING, Facts\n",
                ),
            ),
        ),
    ),
)

_STATUS = Group(
    "who has what can be read by Istio's tools",
    (
        Mutant(
            "stale-looks-synced",
            "istioctl proxy-status says SYNCED of a client that has not answered",
            "agent/tidegate/xds/client_status.py",
            "return csds_pb2.STALE if busy else csds_pb2.SYNCED",
            "return csds_pb2.SYNCED",
            (f"{REPORTS}::test_istioctl_reads_who_is_in_sync",),
        ),
        Mutant(
            "all-types-look-subscribed",
            "istioctl proxy-status counts types for which a client never asked",
            "agent/tidegate/xds/client_status.py",
            "        if not watches:\n            continue",
            "        if False:\n            continue",
            (f"{REPORTS}::test_istioctl_reads_who_is_in_sync",),
        ),
        Mutant(
            "patches-left-out-unsaid",
            "nobody says that a patch cannot be applied to an Envoy that is not ours",
            "agent/tidegate/xds/images.py",
            "for shared in self._shared.values() for left in shared.left_out",
            "for shared in () for left in shared.left_out",
            ("tests/unit/xds/test_others_status.py::test_a_patch_that_cannot_be_applied_is_named_once",),
        ),
        Mutant(
            "refusals-unseen",
            "istioctl proxy-status says nothing of what a client refused",
            "agent/tidegate/xds/client_status.py",
            "        return csds_pb2.ERROR\n",
            "        return csds_pb2.SYNCED\n",
            (f"{REPORTS}::test_a_refusal_shows_with_its_reason",),
        ),
        Mutant(
            "rules-for-others",
            "a sidecar gets routes that are for other clients",
            "agent/tidegate/compile/others/served.py",
            "    labels = tuple(sorted(pod.labels.items()))\n",
            "    labels = client.labels\n",
            (f"{SERVER}::test_each_client_gets_what_rules_say_for_it",),
        ),
    ),
)

_POLICIES = Group(
    "an Envoy that is not ours does what the mesh says, and no more",
    (
        Mutant(
            "others-reach-what-nobody-has",
            "a sidecar lets connections to unknown addresses through where the mesh allows only what it knows",
            "agent/tidegate/compile/others/listeners.py",
            "rest = BLACK_HOLE if view.registry_only else PASSTHROUGH",
            "rest = PASSTHROUGH",
            (f"{ROOM}/test_connections.py::test_only_what_the_registry_has_is_let_through_where_the_mesh_says_so",),
        ),
        Mutant(
            "others-take-all-names",
            "every TLS connection of a port goes to a host that is known by its name only",
            "agent/tidegate/compile/others/connections.py",
            "names=found.names or names",
            "names=found.names",
            (f"{ROOM}/test_connections.py::test_a_host_without_addresses_is_found_by_what_a_tls_client_asks_for",),
        ),
        Mutant(
            "others-wait-for-names",
            "a server that speaks first is waited for, for its clients might say a name",
            "agent/tidegate/compile/others/listeners.py",
            "    if place.names:\n",
            "    if True:\n",
            (f"{ROOM}/test_connections.py::test_who_needs_no_name_is_not_kept_waiting_for_one",),
        ),
        Mutant(
            "patches-for-any-proxy",
            "a patch for proxies of one version or kind is applied to all",
            "agent/tidegate/compile/others/patched.py",
            "selection.of(view.source, context, dict(view.client.metadata))",
            "selection.of(view.source, context)",
            (f"{ROOM}/test_patched.py::test_a_proxy_is_what_it_says_that_it_is",),
        ),
        Mutant(
            "patches-by-port-only",
            "a patch for one listener is applied to all of its port",
            "agent/tidegate/compile/others/patched.py",
            'return (patch.listener or ListenerMatch()).name in ("", plain.name)',
            "return True",
            (f"{ROOM}/test_patched.py::test_listeners_have_istios_names",),
        ),
    ),
)

_SECRETS = Group(
    "a key is told to whom the operator lets have it",
    (
        Mutant(
            "namespace-by-word",
            "who comes by the socket of one namespace gets the Secrets of another by saying that he is of it",
            "agent/tidegate/compile/others/client.py",
            'namespace = realm or _text(metadata, "NAMESPACE") or namespace',
            'namespace = _text(metadata, "NAMESPACE") or realm or namespace',
            (f"{ROOM}/test_secrets.py::test_where_a_client_comes_from_counts_more_than_its_name",),
        ),
        Mutant(
            "keys-in-reports",
            "whoever asks how clients do is told the keys that gateways have",
            "agent/tidegate/xds/client_status.py",
            " and watch.kind != SECRETS:",
            ":",
            ("tests/unit/xds/test_namespace_sockets.py::test_no_key_is_in_what_is_told_about_others",),
        ),
        Mutant(
            "socket-for-everybody",
            "any user of the machine reads keys at the socket of a namespace",
            "agent/tidegate/xds/discovery.py",
            "old = os.umask(0o177)",
            "old = os.umask(0)",
            ("tests/unit/xds/test_namespace_sockets.py::test_a_socket_is_for_its_owner_only",),
        ),
        Mutant(
            "foreign-gateway-without-its-files",
            "an Envoy of somebody else that is a gateway gets no server whose certificate is a file of its own",
            "agent/tidegate/compile/others/served.py",
            "Materials(by_path=True), known",
            "Materials(), known",
            (f"{ROOM}/test_secrets.py", FOREIGN_GATEWAYS),
            raises=("KeyError",),
        ),
        Mutant(
            "foreign-gateway-asked-to-use-one-stream",
            "a gateway that asks type by type waits for ever for routes and certificates",
            "agent/tidegate/compile/others/client.py",
            "    if not sources.cluster:\n        return item\n",
            "    if True:\n        return item\n",
            (f"{ROOM}/test_secrets.py", FOREIGN_GATEWAYS),
        ),
        Mutant(
            "foreign-gateway-trusts-the-revoked",
            "a client whose certificate stands in caCrl is served",
            "agent/tidegate/compile/gateway/tls.py",
            "return _with_list(made, tls.crl_file) if by_path and tls.crl_file else made",
            "return made",
            (f"{ROOM}/test_secrets.py",),
            raises=("KeyError",),
        ),
        Mutant(
            "node-paths-told",
            "a sidecar looks for files of rules where only the node has them",
            "agent/tidegate/compile/others/secrets.py",
            'out["filename"] = written_path(value["filename"])',
            "pass",
            (f"{ROOM}/test_secrets.py::test_files_are_those_of_the_clients_own_container",),
        ),
        Mutant(
            "serving-before-listening",
            "a signal that comes when `serving on` is read ends the process where it stands",
            "agent/tidegate/discovery.py",
            "    stop = asked_to_stop()\n    config: ",
            "    config: ",
            ("tests/unit/runtime/test_stopping.py::test_who_reads_that_it_serves_may_stop_it_at_once",),
            more=(
                (
                    "agent/tidegate/discovery.py",
                    "    tasks = [\n        asyncio.create_task(follow(",
                    "    stop = asked_to_stop()\n    tasks = [\n        asyncio.create_task(follow(",
                ),
            ),
            raises=("TimeoutError",),
        ),
    ),
)

GROUPS = (_GRPC, _ORDER, _STATUS, _POLICIES, _SECRETS)
