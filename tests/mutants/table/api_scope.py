"""What exists for a pod: Sidecars, exportTo, REGISTRY_ONLY, delegates."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

SEEN = "tests/unit/compile/test_visibility.py"
DELEGATES = "tests/unit/compile/test_delegates.py"
VISIBILITY = "agent/tidegate/compile/visibility.py"
MERGE = "agent/tidegate/compile/delegates.py"
CORE = "bpf/core/connect_core.h"

GROUPS = (
    Group(
        "what exists for a pod",
        (
            Mutant(
                "sidecar-hides-nothing",
                "a pod sees services that its Sidecar does not import",
                VISIBILITY,
                "    if listener is None:\n        return False\n    if listener.has_service(",
                "    if listener is None or True:\n        return True\n    if listener.has_service(",
                (f"{SEEN}::test_a_sidecar_leaves_what_it_imports",),
            ),
            Mutant(
                "sidecar-hides-where-rules-lead",
                "what an imported rule leads to is not imported with it",
                VISIBILITY,
                "    rules = read(RULES_BY_TARGET, service.id.fqdn) or ()\n",
                "    rules: tuple[VirtualService, ...] = ()\n",
                (f"{SEEN}::test_what_an_imported_rule_leads_to_is_imported_with_it",),
            ),
            Mutant(
                "sidecar-lets-rules-in",
                "a rule that no Sidecar imports is in force",
                VISIBILITY,
                "    return listener is not None and listener.has_rule(vs.namespace, vs.hosts, source.namespace)\n",
                "    return True\n",
                (f"{SEEN}::test_a_rule_that_is_not_imported_does_not_exist",),
            ),
            Mutant(
                "export-to-of-services-ignored",
                "a Service that is exported to nobody is there for everybody",
                VISIBILITY,
                "    if not exported(service.export_to or",
                "    if not exported(() and service.export_to or",
                (f"{SEEN}::test_a_service_that_is_not_exported_is_hidden_from_other_namespaces",),
            ),
            Mutant(
                "registry-only-lets-pass",
                "REGISTRY_ONLY refuses nobody",
                CORE,
                "pod->flags & TG_POD_REGISTRY_ONLY ? TG_DENY_NOT_IN_REGISTRY : reason",
                "pod->flags & TG_POD_REGISTRY_ONLY ? reason : reason",
                (
                    "tests/bpf/test_decisions.py::test_connect",
                    "tests/stories/routing/test_scope.py::"
                    "test_registry_only_refuses_what_nobody_has_and_answers_502_at_ports_of_http",
                ),
            ),
            Mutant(
                "scope-of-rows-ignored",
                "a pod finds rows of others' scope",
                CORE,
                "row == TG_ROW_ADDRESS ? 0 : (uint8_t)scope;",
                "(uint8_t)(scope & 0);",
                (
                    "tests/bpf/test_decisions.py::test_kernel_and_oracle_agree_on_random_calls",
                    "tests/stories/routing/test_scope.py::"
                    "test_a_sidecar_hides_other_namespaces_from_its_pods_and_from_nobody_else",
                ),
            ),
        ),
    ),
    Group(
        "delegates",
        (
            Mutant(
                "delegate-loses-the-roots-match",
                "a delegate takes requests that its root does not give it",
                MERGE,
                "        matches = _matches(route.matches, inner.matches)\n",
                "        matches = inner.matches\n",
                (f"{DELEGATES}::test_every_block_of_the_root_meets_every_block_of_the_delegate",),
            ),
            Mutant(
                "delegate-hidden-and-used",
                "a delegate that exportTo does not show is used",
                MERGE,
                "other.gateways == (MESH,) and other.visible_from(root.namespace, default)",
                "other.gateways == (MESH,)",
                (
                    f"{DELEGATES}::test_a_delegate_that_is_not_there_or_not_to_be_seen_takes_its_route_along_and_nothing_else",
                ),
            ),
            Mutant(
                "delegate-contradicts",
                "a delegate widens what its root gives it",
                MERGE,
                "    return leaf.value.startswith(root.value)\n",
                "    return True\n",
                (f"{DELEGATES}::test_what_contradicts_the_root_is_left_out",),
            ),
        ),
    ),
)
