"""localityLbSetting: which endpoints a client would rather use for where they stand."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from tidegate.config import messages as say
from tidegate.config.schema import ApiModel, Report, listify
from tidegate.config.tree import YamlMap
from tidegate.model.locality import REGION, SUBZONE, ZONE, LocalityPreference, Share

_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL = re.compile(rf"([a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?/)?{_NAME}(=({_NAME})?)?")
Percent = Annotated[int, Field(ge=1, le=100)]


class DistributeDoc(ApiModel):
    from_: str = Field(alias="from")
    to: dict[str, Percent]

    def to_model(self, report: Report) -> Share:
        if sum(self.to.values()) != 100:
            report.say(self, "to", say.NOT_ALL_OF_IT(given=sum(self.to.values())))
        for place in (self.from_, *self.to):
            if not _is_pattern(place):
                report.say(self, "from" if place is self.from_ else ("to", place), say.NO_LOCALITY(given=place))
        if (found := _overlap(self.to)) is not None:
            report.say(self, ("to", found[1]), say.LOCALITIES_OVERLAP(first=found[0], second=found[1]))
        return Share(self.from_, tuple(self.to.items()))


class FailoverDoc(ApiModel):
    from_: str = Field(alias="from", min_length=1)
    to: str = Field(min_length=1)

    def to_model(self, report: Report) -> tuple[str, str]:
        for key, region in (("from", self.from_), ("to", self.to)):
            if "/" in region or "*" in region:
                report.say(self, key, say.REGION_ONLY(given=region))
        if self.from_ == self.to:
            report.say(self, "to", say.SAME_REGION(given=self.to))
        return self.from_, self.to


class LocalityDoc(ApiModel):
    distribute: list[DistributeDoc] = []
    failover: list[FailoverDoc] = []
    failover_priority: list[str] = []
    enabled: bool = True

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        listify(data, "distribute", "failover", "failoverPriority")

    def to_model(self, report: Report, outlier: bool) -> LocalityPreference:
        if self.distribute and self.failover:
            report.say(self, "failover", say.EXCLUSIVE(first="distribute", second="failover"))
        elif self.distribute and self.failover_priority:
            report.say(self, "failoverPriority", say.NO_EFFECT(why='"distribute" says already who gets how much'))
        topology = next((word for word in self.failover_priority if word in (REGION, ZONE, SUBZONE)), None)
        if self.failover and topology is not None:
            report.say(self, "failoverPriority", say.EXCLUSIVE(first="failover", second=topology))
        for key, given in (("failover", self.failover), ("failoverPriority", self.failover_priority)):
            if given and not outlier and not self.distribute:
                report.say(self, key, say.NO_EFFECT(why="without outlierDetection nobody is found to be unhealthy"))
        for number, word in enumerate(self.failover_priority):
            if not _LABEL.fullmatch(word):
                report.say(self, ("failoverPriority", number), say.NO_PRIORITY_LABEL(given=word))
        shares = tuple(share.to_model(report) for share in self.distribute)
        if (found := _overlap(share.source for share in shares)) is not None:
            report.say(self, "distribute", say.LOCALITIES_OVERLAP(first=found[0], second=found[1]))
        return LocalityPreference(
            enabled=self.enabled,
            shares=shares,
            failover=tuple(one.to_model(report) for one in self.failover),
            priority=tuple(self.failover_priority),
        )


def _is_pattern(text: str) -> bool:
    parts = text.split("/")
    return (
        len(parts) <= 3
        and all(parts)
        and not any("*" in part for part in parts[:-1])
        and parts[-1].count("*") <= (parts[-1] == "*")
    )


def _overlap(patterns: Iterable[str]) -> tuple[str, str] | None:
    """Two patterns of which the second covers the first, or the other way round."""
    seen: list[tuple[list[str], str]] = []
    for pattern in patterns:
        parts = [part for part in pattern.split("/") if part != "*"]
        for others, other in seen:
            if all(a == b for a, b in zip(parts, others, strict=False)):
                return other, pattern
        seen.append((parts, pattern))
    return None
