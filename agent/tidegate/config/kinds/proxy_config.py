"""ProxyConfig: settings of a pod's own proxy. There is one Envoy for the node, so it is read and means nothing."""

from __future__ import annotations

from pydantic import Field

from tidegate.config.kinds.base import Kind, Place
from tidegate.config.schema import ApiModel, Report


class ProxyConfigSpec(ApiModel):
    ignored = frozenset({"selector", "concurrency", "environmentVariables", "image"})


class ProxyConfigDoc(ApiModel):
    ignored = frozenset({"apiVersion", "kind", "metadata", "status"})
    spec: ProxyConfigSpec = Field(default_factory=ProxyConfigSpec)


def read(_doc: ProxyConfigDoc, _place: Place, _report: Report) -> None:
    return None


PROXY_CONFIG = Kind(
    group="networking.istio.io", name="ProxyConfig", versions=("v1beta1", "v1"), shape=ProxyConfigDoc, read=read
)
