"""ObjectMeta, and what else Kubernetes objects have in common."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from tidegate.config import messages as say
from tidegate.config.schema import ApiModel, Report, words
from tidegate.model.net import IPAddress, parse_ip


class Metadata(ApiModel):
    ignored: ClassVar[frozenset[str]] = words(
        "uid resourceVersion generation generateName ownerReferences finalizers managedFields selfLink "
        "deletionGracePeriodSeconds clusterName"
    )
    name: str = ""
    namespace: str = "default"
    # A factory, because pydantic makes a deep copy of any other default for each object.
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    creation_timestamp: str = ""
    deletion_timestamp: str = ""


class AnyDoc(ApiModel):
    """An object of which only the name matters."""

    open_ended = True
    metadata: Metadata = Field(default_factory=Metadata)


def addresses(at: ApiModel, written: list[str], report: Report) -> tuple[IPAddress, ...]:
    out: list[IPAddress] = []
    for text in written:
        try:
            out.append(parse_ip(text))
        except ValueError:
            key = next((k for k in ("clusterIPs", "clusterIP", "podIPs", "podIP") if k in at.at), None)
            report.say(at, key, say.NO_ADDRESS(given=text))
    return tuple(out)
