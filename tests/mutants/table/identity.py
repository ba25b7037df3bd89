"""Whose certificate a connection shows, and to whom."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

ENVOY = "tests/envoy/test_mesh_identities.py"
STORE = "tests/unit/identity/test_store.py"
AUTHORITY = "tests/unit/identity/test_authority.py"
DOCUMENT = "tests/stories/documents/edges/test_tls.py::test_requests_to_ratings_are_mutual_tls_between_the_two_pods"
IDENTITIES = "agent/tidegate/compile/envoy/identities.py"

_SHOWN = Group(
    "each pod shows its own certificate, to who has to be there, and nobody else's",
    (
        Mutant(
            "nobodys-certificate",
            "listeners do not say whose certificate connections show",
            IDENTITIES,
            '        "object_key": WHOSE,\n',
            '        "object_key": "whose",\n',
            (f"{ENVOY}::test_each_client_shows_its_own_certificate_through_one_cluster",),
        ),
        Mutant(
            "certificate-that-comes-is-none",
            "who connects before its certificate is issued is refused",
            "agent/tidegate/xds/watch.py",
            "        comes = is_of_the_mesh if self.kind == SECRETS else lambda _: False\n",
            "        comes = is_of_the_mesh if not self.kind else lambda _: False\n",
            (f"{ENVOY}::test_who_asks_before_its_certificate_is_there_waits_for_it",),
        ),
        Mutant(
            "any-server-of-the-mesh",
            "whoever has a certificate of the mesh is believed to be any server",
            "agent/tidegate/compile/envoy/upstream_tls.py",
            "        if tls.names:\n            wanted",
            "        if tls.names and not of_the_mesh:\n            wanted",
            (f"{ENVOY}::test_a_server_that_is_somebody_else_is_refused",),
        ),
        Mutant(
            "mutual-tls-reaches-the-application",
            "mutual TLS of the mesh does not end in front of a pod that speaks plain HTTP",
            "agent/tidegate/compile/inbound/mutual.py",
            "        replace(port, mutual=True)\n",
            "        replace(port, mutual=False)\n",
            (DOCUMENT,),
        ),
    ),
)

_KEPT = Group(
    "a certificate is renewed in time, and its root is nobody else's",
    (
        Mutant(
            "renewed-at-the-last-moment",
            "an authority that is away for a moment ends all certificates",
            "agent/tidegate/identity/store.py",
            "HALF, SPREAD = 0.5, 0.1",
            "HALF, SPREAD = 0.95, 0.1",
            (f"{STORE}::test_a_certificate_is_renewed_at_half_its_life_and_a_little",),
        ),
        Mutant(
            "refused-certificate-is-dropped",
            "an authority that is away takes away what is good for hours",
            "agent/tidegate/identity/store.py",
            "        await self.held.set({**self.held.value, **got})\n",
            "        kept = {one: held for one, held in self.held.value.items() if one not in refused}\n"
            "        await self.held.set({**kept, **got})\n",
            (f"{STORE}::test_an_authority_that_is_away_harms_nobody_before_expiry",),
        ),
        Mutant(
            "root-key-for-everybody",
            "every user of the machine can be any workload",
            "agent/tidegate/identity/authority.py",
            "pem_of(new_key()), 0o600)",
            "pem_of(new_key()), 0o644)",
            (f"{AUTHORITY}::test_a_root_is_made_once_and_only_its_owner_reads_the_key",),
            raises=("Rejected",),  # the authority itself looks
        ),
    ),
)

GROUPS = (_SHOWN, _KEPT)
