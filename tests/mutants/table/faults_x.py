"""What is written and does nothing, spellings of one thing, HTTP as without a mesh."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

RULE = "agent/tidegate/config/kinds/virtual_service.py"
ROUTES = "agent/tidegate/compile/outbound/routes.py"
ALIASES = "agent/tidegate/compile/outbound/aliases.py"
READING = "agent/tidegate/config/reading.py"
IDLE = "tests/unit/config/test_idle_routes.py"
NAMES = "tests/envoy/test_external_names.py"
VECTORS = "tests/unit/config/test_document_vectors.py"

_IDLE = Group(
    "routes that nothing asks for are told",
    (
        Mutant(
            "routes-of-tcp-port-silent",
            "a VirtualService for a service without an HTTP port does nothing and nobody says so",
            RULE,
            "elif not alias and service.tcp_ports and not any(",
            "elif False and not any(",
            (f"{IDLE}::test_routes_for_a_service_without_an_http_port_are_told",),
        ),
        Mutant(
            "alias-outside-silent",
            "a VirtualService for an alias of a name outside does nothing and nobody says so",
            RULE,
            "if alias and not in_cluster(alias):",
            "if False:",
            (f"{IDLE}::test_a_rule_for_an_alias_of_a_name_outside_is_told",),
        ),
        Mutant(
            "match-port-of-nobody-silent",
            "a condition on a port that no host has is never met and nobody says so",
            RULE,
            "if match.port and not any(",
            "if False and not any(",
            (f"{IDLE}::test_a_condition_on_a_port_that_no_host_has_is_told",),
        ),
        Mutant(
            "destination-outside-silent",
            "a route to a host that is no service answers 503 and nobody says so",
            RULE,
            'if links.any("service") else None',
            'if in_cluster(target.host) and links.any("service") else None',
            (f"{IDLE}::test_a_destination_that_is_no_service_is_told",),
        ),
        Mutant(
            "routes-behind-catch-all-silent",
            "a route behind one that takes everything is never reached and nobody says so",
            RULE,
            "m.catches_all and m.for_everybody for m",
            "m.catches_all and False for m",
            (f"{VECTORS}::test_findings",),
        ),
    ),
)

_REWRITES = Group(
    "rewrites that do not do what they look like are told",
    (
        Mutant(
            "missing-group-silent",
            "a rewrite that names a group which the expression does not have does nothing and nobody says so",
            "agent/tidegate/config/shapes/http_action.py",
            "max(named, default=0)) > groups:",
            "max(named, default=0)) > 9:",
            (f"{VECTORS}::test_findings",),
        ),
        Mutant(
            "dollar-group-silent",
            "a rewrite that says $1 for a group sends it as it stands and nobody says so",
            "agent/tidegate/config/shapes/http_action.py",
            "_DOLLAR.search(regex.rewrite):",
            '_DOLLAR.search(""):',
            (f"{VECTORS}::test_findings",),
        ),
    ),
)

_ALIASES = Group(
    "a rule for an ExternalName holds for requests that name it",
    (
        Mutant(
            "alias-host-not-asked",
            "a VirtualService whose host is an ExternalName has no effect",
            ROUTES,
            "before._aliases if before else aliases(registry, rules)",
            "{}",
            (f"{NAMES}::test_a_rule_for_an_alias_holds_for_requests_that_name_it",),
        ),
        Mutant(
            "alias-short-name-everywhere",
            "the short name of an alias means it in every namespace",
            ALIASES,
            "if namespace == alias.namespace:",
            "if namespace:",
            (f"{NAMES}::test_the_short_name_of_an_alias_is_its_own_namespaces",),
        ),
    ),
)

_LISTS = Group(
    "lists as the API server writes them",
    (
        Mutant(
            "list-of-a-kind-ignored",
            "what stands in a ServiceList is not read",
            READING,
            'not kind.endswith("List")',
            'kind != "List"',
            (f"{VECTORS}::test_findings",),
        ),
        Mutant(
            "list-in-a-list-ignored",
            "what stands in a List within a list is not read",
            READING,
            "yield from items(Tree(line, member))",
            "yield Tree(line, member)",
            (f"{VECTORS}::test_findings",),
        ),
    ),
)

GROUPS = (_IDLE, _REWRITES, _ALIASES, _LISTS)
