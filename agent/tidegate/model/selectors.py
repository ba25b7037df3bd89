"""Label selectors, decided in one place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether labels have every pair of the selector. One without pairs selects everything; a Service without pairs is
    the exception of the Kubernetes API, and its reader's business."""
    return selector.items() <= labels.items()


def pairs(namespace: str, labels: Mapping[str, str]) -> Iterator[LabelPair]:
    """The places of an index by label where something with these labels is found."""
    return ((namespace, key, value) for key, value in labels.items())


LabelPair = tuple[str, str, str]  # namespace, key, value
