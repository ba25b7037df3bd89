"""ObjectMeta, and what else Kubernetes objects have in common."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from tidegate.config import messages as say
from tidegate.config.schema import ApiModel, Report, words
from tidegate.model.capture import is_pods_own
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


def addresses(at: ApiModel, written: list[str], report: Report, *, dialled: bool = False) -> tuple[IPAddress, ...]:
    """Those of an object. dialled: by others, so that they must mean one host to all of them."""
    out: list[IPAddress] = []
    for text in written:
        try:
            address = parse_ip(text)
        except ValueError:
            said = say.NO_ADDRESS(given=text)
        else:
            out.append(address)
            if not dialled or not is_pods_own(address):
                continue
            said = say.PODS_OWN(given=text)
        key = next((k for k in ("clusterIPs", "clusterIP", "podIPs", "podIP") if k in at.at), None)
        report.say(at, key, said)
    return tuple(out)
