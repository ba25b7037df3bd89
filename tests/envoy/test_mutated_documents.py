"""What validation takes of mutated documents Envoy takes, too: rules as a running agent shows them, and clusters."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from tests.support.envoy_judge import judge_clusters, judge_rules
from tests.unit.fuzz.test_mutated_documents import AROUND, TOGETHER, facts_of, is_taken, texts

from tidegate.compile.compiler import compile_plan
from tidegate.model.plan.envoy import CLUSTERS, SECRETS
from tidegate.model.routing import VirtualService


@pytest.mark.parametrize("part", range(2))
def test_envoy_takes_what_validation_takes(part: int, tmp_path: Path) -> None:
    written = texts(part)
    clusters: list[Mapping[str, Any]] = []
    rules: list[VirtualService] = []
    while together := list(islice(written, TOGETHER)):
        facts = facts_of([*(text for text in together if is_taken(text)), AROUND])
        made = compile_plan(facts).envoy[CLUSTERS].values()
        clusters += [resource.body for resource in made if not resource.needs(SECRETS)]  # nobody here would tell any
        rules += facts.mesh.virtual_services
    assert min(len(rules), len(clusters)) > 20, "what is there to judge?"
    assert judge_rules(rules, tmp_path) == ""
    assert judge_clusters(clusters, tmp_path) == ""
