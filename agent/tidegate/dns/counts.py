"""What became of questions: the agent's metric tidegate_dns_questions_total{answer}."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class QuestionCounts:
    """Questions of all pods since the process began. A question that is handed on may also have failed or be lost."""

    registry: int = 0  # answered with what the registry has
    handed_on: int = 0  # to the pod's own resolver
    failed: int = 0  # nobody was there, and the asker was told (UDP)
    lost: int = 0  # given up: too many at once, or no answer (UDP), or no room for a connection
