"""OutboundTrafficPolicy: what becomes of destinations that nobody in the registry has."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from tidegate.config.schema import ApiModel, Report
from tidegate.config.tree import YamlMap

_MODES: Final = ("REGISTRY_ONLY", "ALLOW_ANY")  # by their numbers


class OutboundPolicyDoc(ApiModel):
    unsupported: ClassVar[frozenset[str]] = frozenset({"egressProxy"})
    mode: Literal["REGISTRY_ONLY", "ALLOW_ANY"] = "REGISTRY_ONLY"  # as upstream, where it is there and says nothing

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        number = data.get("mode")
        if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < len(_MODES):
            data["mode"] = _MODES[number]

    @property
    def registry_only(self) -> bool:
        return self.mode == "REGISTRY_ONLY"
