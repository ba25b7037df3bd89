"""Many changes, many documents: what is told of them, and that who follows has what one has who begins anew."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

DOCUMENTS = "tests/unit/fuzz/test_mutated_documents.py"
VECTORS = "tests/unit/config/test_document_vectors.py"

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
                (f"{DOCUMENTS}::test_nothing_raises_and_what_is_not_taken_is_told_with_place_and_reason[0]",),
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
)
