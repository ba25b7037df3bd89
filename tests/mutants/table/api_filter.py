"""EnvoyFilter: where patches get, whose they are, and what becomes of those that cannot be used."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

PATCHES = "agent/tidegate/compile/envoy/patches"
TESTS = "tests/unit/compile/outbound/test_filtered.py"
CONNECTIONS = "tests/unit/compile/test_patched_connections.py"
VECTORS = "tests/unit/config/test_document_vectors.py::test_findings"
MERGING = "tests/unit/compile/envoy/patches/test_merging.py"

_FILTERS = Group(
    "EnvoyFilters are for the pods, ports and places that they name",
    (
        Mutant(
            "patch-for-everybody",
            "the labels of a workloadSelector are not looked at",
            "agent/tidegate/model/envoy_filter.py",
            "and selects(self.labels, labels)",
            "and True",
            (f"{TESTS}::test_a_filter_is_put_into_the_listener_of_the_pods_that_it_is_for",),
        ),
        Mutant(
            "patch-of-any-port",
            "a patch for a port is in every chain",
            f"{PATCHES}/listeners.py",
            "        if ports is not None and self.port not in ports:\n",
            "        if False:\n",
            (f"{TESTS}::test_a_patch_for_a_port_is_in_the_chain_of_that_port",),
        ),
        Mutant(
            "patched-connections-by-the-relay",
            "connections without HTTP that a patch is for go past Envoy",
            "agent/tidegate/compile/l4/patched.py",
            "        of_connections(patch) or (patch.apply_to is ApplyTo.CLUSTER",
            "        False and (patch.apply_to is ApplyTo.CLUSTER",
            (f"{CONNECTIONS}::test_connections_that_a_patch_is_for_are_envoys_for_those_pods_alone",),
        ),
        Mutant(
            "patched-clusters-by-the-relay",
            "connections that lead to a cluster that a patch changes go past Envoy",
            "agent/tidegate/compile/l4/patched.py",
            "(patch.apply_to is ApplyTo.CLUSTER and patch.operation in clusters.CHANGES)",
            "False",
            (f"{CONNECTIONS}::test_a_patch_of_a_cluster_is_for_what_leads_there",),
        ),
        Mutant(
            "patched-connections-for-good",
            "what Envoy gets in place of a refused listener has the patches, too",
            "agent/tidegate/compile/outbound/forwards.py",
            "with_forwards(plain(), found, netns_path, cookie, secret)",
            "with_forwards(plain(), found, netns_path, cookie, secret, patch)",
            (f"{CONNECTIONS}::test_envoy_gets_the_chains_without_patches_where_it_refuses_those_with",),
        ),
        Mutant(
            "filter-behind-the-router",
            "a filter that is added last stands behind the one that ends the chain",
            f"{PATCHES}/lists.py",
            "        members.insert(end, value)\n    elif operation is PatchOperation.INSERT_FIRST:",
            "        members.append(value)\n    elif operation is PatchOperation.INSERT_FIRST:",
            (f"{TESTS}::test_where_a_filter_is_put",),
        ),
        Mutant(
            "gateway-without-addresses",
            "a filter that names addresses reaches no server of a gateway",
            "agent/tidegate/compile/gateway/patched.py",
            "port=port.number, network=network, spared",
            "port=port.number, spared",
            (
                "tests/unit/compile/gateway/test_gateway_filters.py"
                "::test_a_filter_of_istio_1_0_is_for_the_addresses_that_servers_are_bound_to",
            ),
        ),
        Mutant(
            "first-beside-somebody",
            "a filter of Istio 1.0 is put FIRST only where the filter of its relativeTo is, and nothing is said",
            "agent/tidegate/config/shapes/envoy_filter_legacy.py",
            'relative_to = position.relative_to if operation in _BESIDE else ""',
            "relative_to = position.relative_to",
            (f"{VECTORS}[envoy_filter]",),
        ),
        Mutant(
            "own-filters-for-all",
            "a patch may take away the filter that holds requests for their routes",
            "agent/tidegate/compile/outbound/filtered.py",
            "_OWN_HTTP = 1\n",
            "_OWN_HTTP = 0\n",
            (f"{TESTS}::test_what_holds_requests_for_their_routes_is_not_to_be_had",),
        ),
        Mutant(
            "patched-cluster-for-all",
            "a cluster that is patched for some keeps everybody's name",
            "agent/tidegate/compile/outbound/filtered.py",
            "        return replace(key, patches=variant)\n",
            "        return key\n",
            (f"{TESTS}::test_a_cluster_that_is_patched_for_some_is_another_one",),
        ),
        Mutant(
            "half-durations",
            "a duration is merged field by field",
            f"{PATCHES}/merging.py",
            '        *("Duration", "Timestamp", "Struct", "Value", "ListValue"),\n',
            '        *("Timestamp", "Struct", "Value", "ListValue"),\n',
            (f"{MERGING}::test_a_duration_is_replaced_whole",),
        ),
        Mutant(
            "refused-patch-stays",
            "what Envoy refused stays in force",
            "agent/tidegate/config/store.py",
            "            self._refused_patches.append(patch)\n",
            "            pass\n",
            ("tests/unit/config/test_envoy_filter.py::test_a_refused_patch_is_left_out_until_it_is_another_one",),
        ),
    ),
)

GROUPS = (_FILTERS,)
