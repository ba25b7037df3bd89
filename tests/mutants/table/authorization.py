"""Who may connect, as policies are read, compiled and decided."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

C = "agent/relay/policy.c"
FILE = "agent/relay/policy_file.c"
CONVERSION = "agent/tidegate/compile/authorization/conversion.py"
MUTUAL = "agent/tidegate/compile/authorization/mutual.py"
IN_FORCE = "agent/tidegate/compile/authorization/in_force.py"
ORACLE = "agent/tidegate/compile/explain/authorization.py"
TESTS = "tests/unit/compile/authorization"
IN_C = "tests/unit/relay/test_policies.py"

_DECIDED = Group(
    "a connection is decided by the policies of its workload, and alike in Python and C",
    (
        Mutant(
            "deny-after-allow",
            "who is allowed by one policy is not denied by another",
            ORACLE,
            "        if one.action is AuthorizationAction.DENY and matches(one, subject):\n",
            "        if one.action is AuthorizationAction.DENY and matches(one, subject) and len(policies) == 1:\n",
            (f"{TESTS}/test_oracle.py",),
        ),
        Mutant(
            "one-field-of-a-match-is-enough",
            "a policy for a namespace and a port lets the whole namespace in",
            C,
            "	return terms.first < terms.end && met == wanted;\n",
            "	return terms.first < terms.end && (met || !wanted);\n",
            (f"{IN_C}::test_c_decides_as_the_vectors_say",),
        ),
        Mutant(
            "empty-match-is-always",
            "a policy of another control plane that asks for nothing denies everybody",
            C,
            "	return terms.first < terms.end && met == wanted;\n",
            "	return met == wanted;\n",
            (f"{IN_C}::test_c_decides_as_the_vectors_say",),
        ),
        Mutant(
            "all-of-ipv6-is-everybody",
            "a policy for ::/0 is for clients of IPv4, too",
            C,
            "	if (term->number < 96 && fp_addr_is_v4(addr))\n		return false;\n",
            "",
            (f"{IN_C}::test_c_decides_as_the_vectors_say",),
        ),
        Mutant(
            "nobody-begins-as-anybody",
            "a client without a certificate is taken for one whose principal begins with anything",
            C,
            "		return subject->name.principal.length && text_fits(",
            "		return text_fits(",
            (f"{IN_C}::test_c_decides_as_the_vectors_say",),
        ),
        Mutant(
            "trial-is-in-force",
            "a policy on trial refuses connections",
            C,
            "		if (row->action != action || (row->dry_run != 0) != dry_run)\n",
            "		if (row->action != action || (row->dry_run == 0 && dry_run))\n",
            (f"{IN_C}::test_c_decides_as_python_does",),
        ),
        Mutant(
            "unknown-workload-is-open",
            "a pod of which nothing was said yet takes everybody",
            C,
            "	*ret_decision = (struct fp_policy_decision){ .verdict = FP_DENY_UNKNOWN_WORKLOAD };\n",
            "	*ret_decision = (struct fp_policy_decision){ .verdict = FP_ALLOW_NO_POLICY };\n",
            (f"{IN_C}::test_each_workload_has_its_own",),
        ),
        Mutant(
            "text-beyond-its-end",
            "a file of policies makes the relay read what is not in it",
            FILE,
            "		return !term->number && term->text <= text && term->length <= text - term->text;\n",
            "		return !term->number && term->text <= text;\n",
            (f"{IN_C}::test_a_term_that_means_nothing_is_refused",),
        ),
    ),
)

_COMPILED = Group(
    "a policy becomes what it says, or refuses more",
    (
        Mutant(
            "rule-for-requests-allows-everybody",
            "who may GET over HTTP may connect as he likes",
            CONVERSION,
            "    if rule.http and action is not AuthorizationAction.DENY:\n",
            '    if "methods" in rule.http and action is AuthorizationAction.AUDIT:\n',
            (f"{TESTS}/test_conversion.py::test_a_rule_that_allows_requests_allows_no_connection",),
        ),
        Mutant(
            "denied-requests-deny-nobody",
            "a rule that denies requests leaves a match that never fits",
            CONVERSION,
            "    return () if NOTHING_SAID in matches else tuple(matches)\n",
            "    return tuple(matches)\n",
            (f"{TESTS}/test_conversion.py::test_a_rule_that_denies_requests_denies_connections_by_what_is_left_of_it",),
        ),
        Mutant(
            "remote-addresses-widen",
            "a policy for addresses that are in both lists is for those in either",
            CONVERSION,
            "        wanted = tuple(_both(wanted, one.remote_ips)) if wanted else one.remote_ips\n",
            "        wanted = (*wanted, *one.remote_ips)\n",
            (f"{TESTS}/test_conversion.py::test_a_remote_address_is_where_a_connection_comes_from",),
        ),
        Mutant(
            "aliases-of-the-mesh-forgotten",
            "workloads whose certificates have another of the mesh's trust domains are refused",
            CONVERSION,
            '            seen.update(dict.fromkeys(Text(text.how, f"{one}/{rest}") for one in trust_domains))\n',
            "            seen[text] = None\n",
            (f"{TESTS}/test_conversion.py::test_a_principal_of_the_mesh_has_all_of_its_trust_domains",),
        ),
        Mutant(
            "selector-in-root-is-for-root",
            "a policy of the root namespace with a selector is for no other namespace",
            IN_FORCE,
            "    if policy.namespace not in (pod.id.namespace, root):\n",
            "    everywhere = root if policy.scope is PolicyScope.GLOBAL else None\n"
            "    if policy.namespace not in (pod.id.namespace, everywhere):\n",
            (f"{TESTS}/test_in_force.py::test_a_pod_has_those_of_its_namespace_its_labels_and_the_root",),
        ),
        Mutant(
            "spared-port-beside-the-strict-policy",
            "a port that PERMISSIVE spares is STRICT all the same",
            MUTUAL,
            "            return (made,)\n",
            "            return (made, *((self.strict,) if self.strict else ()))\n",
            (f"{TESTS}/test_mutual.py::test_where_a_client_needs_an_identity",),
        ),
        Mutant(
            "unset-is-permissive",
            "a namespace that leaves the mode unset is not STRICT as the mesh is",
            MUTUAL,
            "        mode = next((one.mode for one in by if one.mode is not MutualTls.UNSET), MutualTls.PERMISSIVE)\n",
            "        mode = next((one.mode for one in by), MutualTls.PERMISSIVE)\n",
            (f"{TESTS}/test_mutual.py::test_where_a_client_needs_an_identity",),
        ),
        Mutant(
            "newest-authentication-counts",
            "whoever adds a PeerAuthentication overrules the older one",
            MUTUAL,
            "        for one in sorted(written, key=lambda one: (one.age, one.namespace, one.name)):\n",
            "        for one in sorted(written, key=lambda one: (one.age, one.namespace, one.name), reverse=True):\n",
            (f"{TESTS}/test_mutual.py::test_the_oldest_counts",),
        ),
    ),
)

GROUPS = (_DECIDED, _COMPILED)
