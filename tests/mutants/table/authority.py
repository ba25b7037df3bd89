"""Who gets which certificate, of an authority for all nodes."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

CONTRACT = "tests/contract/test_authority.py"
STORE = "tests/unit/identity/test_store.py"
ISSUING = "tests/unit/ca/test_issuing.py"
TOKENS = "tests/unit/ca/test_tokens.py"
REQUESTS = "tests/unit/identity/test_certificate_requests.py"
ORACLE = (f"{ISSUING}::test_an_oracle_agrees",)

_ASKED = Group(
    "a caller gets what it is, and whom the table or its node says",
    (
        Mutant(
            "any-caller-for-anybody",
            "whoever is known to the authority can be any workload",
            "agent/tidegate/ca/issuing.py",
            "        if row is None or not row.of_its_node:\n            raise",
            "        if row is None or not row.of_its_node:\n            return\n            raise",
            ORACLE,
        ),
        Mutant(
            "any-node-for-any-pod",
            "the agent of one node can be any workload of another one",
            "agent/tidegate/ca/issuing.py",
            "        if not there:\n",
            "        if there is None:\n",
            ORACLE,
        ),
        Mutant(
            "any-trust-domain",
            "an authority signs for meshes of others",
            "agent/tidegate/ca/issuing.py",
            "        if domain not in self._domains:\n",
            "        if not domain:\n",
            ORACLE,
        ),
        Mutant(
            "revoked-callers-are-known",
            "who was revoked gets a new certificate for the old one",
            "agent/tidegate/ca/issuing.py",
            "        if self._revoked().has(asking.issuer, asking.serial):\n",
            "        if not asking.serial:\n",
            ORACLE,
        ),
        Mutant(
            "any-request-for-whom-one-may-ask",
            "a certificate is of whom the request names, and not of whom the caller may ask for",
            "agent/tidegate/ca/issuing.py",
            "        if asked.name != spiffe:\n",
            "        if not asked.name:\n",
            (f"{ISSUING}::test_the_request_has_to_be_for_who_is_asked_for",),
        ),
        Mutant(
            "requests-without-proof",
            "a certificate is issued for a key that the caller does not have",
            "agent/tidegate/identity/certificate_requests.py",
            "    if not proven:\n",
            "    if proven is None:\n",
            (REQUESTS,),
        ),
        Mutant(
            "authorities-on-request",
            "who asks to be an authority is not in the log as one who tried",
            "agent/tidegate/identity/certificate_requests.py",
            "            if value.ca:\n",
            "            if value.ca is None:\n",
            (f"{REQUESTS}::test_one_name_and_nothing_more",),
        ),
        Mutant(
            "tokens-for-the-cluster-are-believed",
            "a token that some service was shown opens the mesh to that service, where the cluster is older",
            "agent/tidegate/ca/cluster.py",
            '        if self.audience not in _texts(status, "audiences"):\n',
            "        if not status:\n",
            ("tests/unit/ca/test_cluster.py::test_a_server_that_does_not_look_at_audiences_is_not_believed",),
        ),
        Mutant(
            "node-of-another-pod",
            "a token of a pod that is gone is one of the pod that has its name now",
            "agent/tidegate/ca/cluster.py",
            '            if account.pod_uid in ("", _part(pod, "metadata").get("uid")):\n',
            "            if account.pod:\n",
            ("tests/unit/ca/test_cluster.py::test_the_node_of_a_pod_is_where_that_very_pod_is",),
        ),
        Mutant(
            "those-of-a-node-that-have-ended",
            "a node may be a workload that ended there long ago",
            "agent/tidegate/ca/cluster.py",
            "status.phase!=Failed,status.phase!=Succeeded",
            "status.phase!=Failed",
            ("tests/unit/ca/test_cluster.py",),
        ),
        Mutant(
            "lifetime-as-asked",
            "a caller gets certificates that are good for years",
            "agent/tidegate/ca/issuing.py",
            "        return min(max(asked, self.least), self.most) if asked > 0",
            "        return max(asked, self.least) if asked > 0",
            (f"{ISSUING}::test_how_long_a_certificate_is_good_is_bounded",),
        ),
        Mutant(
            "callers-without-a-rate",
            "one caller keeps the authority from answering others",
            "agent/tidegate/ca/issuing.py",
            "        if not self._rates.take(caller.name, now):\n",
            "        if not caller.name:\n",
            (f"{ISSUING}::test_a_caller_that_asks_too_often_waits_and_others_do_not",),
        ),
        Mutant(
            "old-tokens-are-believed",
            "a token that has expired still opens the mesh",
            "agent/tidegate/ca/tokens.py",
            "    if now >= expires:\n",
            "    if expires <= 0:\n",
            (f"{TOKENS}::test_everything_else_is_not",),
        ),
        Mutant(
            "tokens-for-others-are-believed",
            "a token that some service was shown opens the mesh to that service",
            "agent/tidegate/ca/tokens.py",
            "    if audience not in (audiences if isinstance(audiences, list) else [audiences]):\n",
            "    if audiences is None:\n",
            (f"{TOKENS}::test_everything_else_is_not",),
        ),
        Mutant(
            "tokens-by-any-key",
            "whoever has a key of his own can be any service account",
            "agent/tidegate/ca/tokens.py",
            "    if not any(_made(key.key, str(algorithm), signed, signature) for key in fitting):\n",
            "    if not fitting:\n",
            (f"{TOKENS}::test_everything_else_is_not",),
        ),
    ),
)

_GOT = Group(
    "what comes from an authority is what was asked for, and one that is away harms nobody",
    (
        Mutant(
            "any-certificate-that-comes",
            "a pod shows a certificate of somebody else, because an authority answered with it",
            "agent/tidegate/identity/chains.py",
            "    if leaf.names != (spiffe,):\n",
            "    if not leaf.names:\n",
            (f"{STORE}::test_an_answer_that_was_not_asked_for_is_refused",),
        ),
        Mutant(
            "any-chain-that-comes",
            "a certificate is shown that no peer believes",
            "agent/tidegate/identity/chains.py",
            "    if not signed_by_one_of(certificates[-1], trusted):\n",
            "    if not trusted:\n",
            (f"{STORE}::test_an_answer_that_was_not_asked_for_is_refused",),
        ),
        Mutant(
            "one-attempt-in-half-a-life",
            "certificates end although their authority came back in time",
            "agent/tidegate/identity/store.py",
            "LONGEST_SHARE = 0.05",
            "LONGEST_SHARE = 0.5",
            (f"{STORE}::test_there_are_ten_attempts_before_it_ends",),
        ),
        Mutant(
            "authority-without-a-way-back",
            "an authority that was away once is away for good",
            "agent/tidegate/identity/remote.py",
            "            if channel is self._channel:",
            "            if channel is None:",
            (f"{CONTRACT}::test_away_and_back",),
            raises=("Transient",),
        ),
        Mutant(
            "roots-of-the-file-only",
            "when the root changes no node gets certificates until somebody gives it the new one",
            "agent/tidegate/identity/remote.py",
            "        self._learned = signed.roots\n",
            '        self._learned = b""\n',
            (f"{CONTRACT}::test_roots_that_an_answer_brings_let_the_server_change_its_own",),
            raises=("Transient",),
        ),
    ),
)

_NEXT = Group(
    "the root changes without a peer that is refused",
    (
        Mutant(
            "root-of-before-forgotten-at-once",
            "when another root signs, whoever has not renewed is refused by whoever has",
            "agent/tidegate/identity/root_change.py",
            "        _trust(folder, current)\n",
            "",
            ("tests/unit/identity/test_root_change.py::test_neighbours_in_each_step_believe_each_other",),
        ),
        Mutant(
            "next-root-not-believed-before",
            "when another root signs, whoever renewed is refused by whoever has not",
            "agent/tidegate/identity/root_change.py",
            "        _trust(folder, certificate)\n",
            "",
            ("tests/unit/identity/test_root_change.py::test_neighbours_in_each_step_believe_each_other",),
        ),
        Mutant(
            "a-third-root",
            "an authority whose files are moved while it runs makes a root that nobody knows",
            "agent/tidegate/identity/embedded.py",
            'trust_domain, now, make=False), ""',
            'trust_domain, now), ""',
            ("tests/unit/identity/test_authority_folder.py",),
        ),
        Mutant(
            "certificates-ahead-of-nothing",
            "with an authority far away the first request after a rule waits for certificates of all pods",
            "agent/tidegate/dataplane/appliers/certificates.py",
            "        wanted = plan.identities | plan.accounts if self._ahead else plan.identities\n",
            "        wanted = plan.identities\n",
            ("tests/unit/dataplane/test_certificates.py",),
        ),
    ),
)

_REVOKED = Group(
    "who is revoked is refused, and nobody else without a word",
    (
        Mutant(
            "revoked-peers-are-believed",
            "whoever has a stolen key is still believed to be the workload",
            "agent/tidegate/compile/envoy/identities.py",
            "trusted_secret(ROOTS, roots, next(iter(held.values())).revoked)",
            "trusted_secret(ROOTS, roots)",
            ("tests/unit/compile/test_identity_secrets.py",),
        ),
        Mutant(
            "revoked-peers-of-gateways-are-believed",
            "a gateway believes whoever has a stolen key",
            "agent/tidegate/compile/envoy/identities.py",
            "trusted_secret(ROOTS, own.roots, own.revoked)",
            "trusted_secret(ROOTS, own.roots)",
            ("tests/unit/compile/test_identity_secrets.py",),
        ),
        Mutant(
            "new-certificates-without-the-lists",
            "a list of revoked certificates counts until the next renewal",
            "agent/tidegate/identity/store.py",
            "            revoked=self.revocations.pem,\n",
            "",
            (f"{STORE}::test_lists_of_revoked_certificates_go_with_those_held_and_those_to_come",),
        ),
        Mutant(
            "roots-without-a-list-unnamed",
            "when the root changes everybody is refused and nobody is told why",
            "agent/tidegate/identity/revocation.py",
            "        if not any(one.issuer == root.subject and _signed_by(one, root) for one in lists)",
            "        if not lists",
            ("tests/unit/identity/test_revocation.py",),
            raises=("ValueError",),  # there is no sentence to unpack
        ),
    ),
)

GROUPS = (_ASKED, _GOT, _NEXT, _REVOKED)
