"""Faults of an HTTP route, and shares of its requests."""

from __future__ import annotations

from pydantic import Field

from tidegate.config import limits
from tidegate.config import messages as say
from tidegate.config.schema import ApiModel, PositiveDuration, Report
from tidegate.config.tree import YamlMap
from tidegate.model.routing import Fault

GRPC_STATUS = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)


class Percentage(ApiModel):
    value: float = Field(default=0.0, ge=0, le=100)

    def share(self, report: Report) -> int:
        """Parts per million, cut off as upstream does."""
        if 0 < self.value < 0.0001:
            report.say(self, "value", say.SMALL_PERCENTAGE())
        return int(round(self.value * 10_000, 6))


def old_percent(data: YamlMap, old: str, new: str, report: Report) -> None:
    """Read the integer field of Istio 1.0 as percentage.value."""
    if old not in data:
        return
    line = data.lines[old]
    value = data.pop(old)
    if new in data:
        report.say(data, new, say.IGNORED_BESIDE(old=old, new=new))
        return
    percentage = YamlMap((*data.path, new), line)
    percentage.put("value", value, line)
    data.put(new, percentage, line)


class DelayDoc(ApiModel):
    fixed_delay: PositiveDuration | None = None
    percentage: Percentage | None = None

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        old_percent(data, "percent", "percentage", report)
        if "exponentialDelay" in data:
            report.say(data, "exponentialDelay", say.OLD_FAULT(new="fixedDelay"))
            del data["exponentialDelay"]


class AbortDoc(ApiModel):
    http_status: int | None = limits.ABORT_STATUS.field(default=None)
    grpc_status: str | None = None
    percentage: Percentage | None = None

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        old_percent(data, "percent", "percentage", report)
        if "http2Error" in data:
            report.say(data, "http2Error", say.OLD_FAULT(new="httpStatus or grpcStatus"))
            del data["http2Error"]


class FaultDoc(ApiModel):
    delay: DelayDoc | None = None
    abort: AbortDoc | None = None

    def to_model(self, report: Report) -> Fault:
        if self.delay is None and self.abort is None:
            report.say(self, None, say.NEEDS_ONE_OF(names="delay, abort"))
        for part in (self.delay, self.abort):
            if part is not None and part.percentage is None:
                report.say(part, None, say.NO_PERCENTAGE())
        if self.delay and self.delay.fixed_delay is None:
            report.say(self.delay, None, say.NO_DELAY())
        status, grpc = 0, None
        if self.abort:
            status = self.abort.http_status or 0
            if status in limits.BODILESS:
                said = say.NO_CONTENT(status=status, what="the text that comes with a fault")
                report.say(self.abort, "httpStatus", said)
            if self.abort.grpc_status is not None:
                name = self.abort.grpc_status
                if status:
                    report.say(self.abort, "grpcStatus", say.EXCLUSIVE(first="httpStatus", second="grpcStatus"))
                if name not in GRPC_STATUS:
                    report.say(self.abort, "grpcStatus", say.GRPC_STATUS(name=name))
                else:
                    grpc = GRPC_STATUS.index(name)
            elif not status:
                report.say(self.abort, None, say.NO_ABORT())
        return Fault(
            delay_ms=(self.delay.fixed_delay or 0) if self.delay else 0,
            delay_share=self.delay.percentage.share(report) if self.delay and self.delay.percentage else None,
            abort_status=status,
            abort_grpc=grpc,
            abort_share=self.abort.percentage.share(report) if self.abort and self.abort.percentage else None,
        )
