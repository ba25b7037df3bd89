"""WorkloadSelector, in both spellings: for which workloads of its namespace an object is."""

from __future__ import annotations

import re

from pydantic import Field

from tidegate.config import messages as say
from tidegate.config.schema import ApiModel, Report

_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")  # Kubernetes: name of a label, and its value
_PREFIX = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


class WorkloadSelectorDoc(ApiModel):
    labels: dict[str, str] = Field(default_factory=dict)

    def to_model(self, report: Report) -> dict[str, str]:
        """The pairs that a workload must have; none of them: every workload of the namespace."""
        check_labels(self, "labels", self.labels, report)
        return self.labels


class ClientSelectorDoc(ApiModel):
    match_labels: dict[str, str] = Field(min_length=1)

    def to_model(self, report: Report) -> dict[str, str]:
        """The pairs that a client must have."""
        check_labels(self, "matchLabels", self.match_labels, report)
        return self.match_labels


class PolicySelectorDoc(ApiModel):
    match_labels: dict[str, str] = Field(default_factory=dict)

    def to_model(self, report: Report) -> dict[str, str]:
        """The pairs that a workload must have; none of them: every workload."""
        check_labels(self, "matchLabels", self.match_labels, report)
        return self.match_labels


def check_labels(at: ApiModel, field: str, labels: dict[str, str], report: Report) -> None:
    """Say which of these labels no object of Kubernetes can have."""
    for key, value in labels.items():
        prefix, slash, name = key.rpartition("/")
        if (slash and not _PREFIX.fullmatch(prefix)) or not _NAME.fullmatch(name):
            report.say(at, (field, key), say.NO_LABEL_KEY(key=key))
        if value and not _NAME.fullmatch(value):
            report.say(at, (field, key), say.NO_LABEL_VALUE(value=value))
