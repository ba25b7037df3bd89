"""Many changes, many documents: what is told of them, and that who follows has what one has who begins anew."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

DOCUMENTS = "tests/unit/fuzz/test_mutated_documents.py"
VECTORS = "tests/unit/config/test_document_vectors.py"
SIGHTS = "tests/unit/compile/outbound/test_sights.py"
FOLLOWED = "agent/tidegate/compile/outbound/sights.py"
SEEN = "agent/tidegate/compile/outbound/seen.py"
DELTAS = "tests/unit/compile/test_deltas.py::test_deltas_lead_to_the_state_of_the_world"

GROUPS = (
    Group(
        "mutated documents",
        (
            Mutant(
                "findings-speak-to-terminals",
                "a document writes to the terminal of whoever reads what is wrong with it",
                "agent/tidegate/model/text.py",
                "    if text.isprintable():\n",
                "    if text:\n",
                (DOCUMENTS,),
            ),
            Mutant(
                "empty-key-has-no-place",
                "a field whose name is empty is told without a place",
                "agent/tidegate/config/tree.py",
                "        word = part or '\"\"'\n",
                "        word = part\n",
                (DOCUMENTS,),
            ),
            Mutant(
                "text-in-quotes-has-lines",
                "what is wrong in a text in quotes is told for a line that is not there",
                "agent/tidegate/config/kinds/mesh_config.py",
                "    literal = key in texts.literal\n",
                '    literal = "\\n" in text\n',
                (f"{VECTORS}::test_findings",),
            ),
        ),
    ),
    Group(
        "views of a large mesh",
        (
            Mutant(
                "who-sees-the-same-has-copies",
                "each namespace has rows of its own, also where all see the same",
                SEEN,
                "        out[view] = first.setdefault(like, view)\n",
                "        out[view] = view\n",
                (f"{SIGHTS}::test_who_sees_the_same_has_the_same_rows",),
            ),
            Mutant(
                "every-change-is-a-look-at-everything",
                "each view is asked about every service with each change",
                FOLLOWED,
                "            if before.get(claim.name) is not claim or claim.service.id.fqdn in turned\n",
                "            if True\n",
                (f"{SIGHTS}::test_a_change_is_looked_at_once_for_each_view",),
            ),
            Mutant(
                "where-a-rule-led-stays-visible",
                "a service to which an imported rule led is there when the rule is gone",
                FOLLOWED,
                "                self._forget(claim)\n            elif",
                "                pass\n            elif",
                (f"{SIGHTS}::test_a_rule_that_leads_somewhere_is_looked_at_where_it_leads",),
            ),
            Mutant(
                "rows-go-before-the-pod",
                "who shared a scope is without rows until it has its own",
                "agent/tidegate/dataplane/appliers/destinations.py",
                "        left = self._left() | _leaving(plan, shadow) if self.dirty else set()\n",
                "        left = self._left() if self.dirty else set()\n",
                (
                    "tests/unit/dataplane/test_scopes.py::"
                    "test_who_shared_a_scope_sees_its_services_while_the_other_comes_to_see_fewer",
                ),
            ),
        ),
    ),
    Group(
        "deltas of all kinds",
        (
            Mutant(
                "rules-of-targets-stay",
                "who follows changes knows rules by their targets that are gone",
                "agent/tidegate/compile/rule_tables.py",
                "        groups.remove(_targets(was[key]), was[key])\n",
                "        pass\n",
                (f"{SIGHTS}::test_a_rule_that_leads_somewhere_is_looked_at_where_it_leads",),
            ),
            Mutant(
                "removed-clusters-stay-at-followers",
                "an Envoy that follows by deltas keeps what went",
                "agent/tidegate/xds/delta.py",
                "removed_resources=push.remove\n",
                "removed_resources=()\n",
                (DELTAS,),
            ),
            Mutant(
                "gone-is-not-told-to-appliers",
                "appliers keep what only goes",
                "agent/tidegate/dataplane/changes.py",
                "tuple(item for item in before if id(item) not in has)\n",
                "()\n",
                (DELTAS,),
            ),
        ),
    ),
)
