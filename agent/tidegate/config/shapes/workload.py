"""An endpoint that is no pod, as ServiceEntry, WorkloadEntry and WorkloadGroup write it."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from tidegate.config import messages as say
from tidegate.config.schema import ApiModel, Report, words
from tidegate.config.shapes.destination import PortNumber
from tidegate.config.shapes.envoy_text import is_host
from tidegate.model.entry import UNIX, Workload
from tidegate.model.hosts import is_address
from tidegate.model.net import parse_ip
from tidegate.model.sockets import too_long, unix_endpoint_allowed


class WorkloadDoc(ApiModel):
    """istio.networking.v1.WorkloadEntry."""

    unsupported = words("network")
    address: str = ""
    ports: dict[str, PortNumber] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    locality: str = ""
    weight: int = Field(default=0, ge=0, le=2**32 - 1)
    service_account: str = ""

    @property
    def is_socket(self) -> bool:
        return self.address.startswith(UNIX)

    def to_model(self, report: Report, labels: Mapping[str, str] | None = None) -> Workload | None:
        """None if it cannot be dialled. labels: of its object, which win."""
        address = self._address(report)
        if not address:
            return None
        return Workload(
            address=address,
            ports=self.ports,
            labels={**self.labels, **(labels or {})},
            weight=self.weight,
            locality=self.locality,
            service_account=self.service_account,
            line=self.line,
        )

    def _address(self, report: Report) -> str:
        text = self.address
        if not text:
            report.say(self, None, say.NO_WORKLOAD_ADDRESS())
        elif self.is_socket:
            return self._path(text, report)
        elif is_address(text):
            address = parse_ip(text)
            if address.is_loopback or address.is_unspecified or address.is_link_local or address.is_multicast:
                report.say(self, "address", say.NO_ENDPOINT_ADDRESS(given=text))
            else:
                return str(address)
        elif not is_host(text) or text.startswith("*"):
            report.say(self, "address", say.NO_HOST(given=text))
        else:
            return text.lower().rstrip(".")
        return ""

    def _path(self, text: str, report: Report) -> str:
        path = text.removeprefix(UNIX)
        if not path.startswith(("/", "@")) or path.endswith("/") or len(path) < 2 or "\0" in path or too_long(path):
            report.say(self, "address", say.NO_SOCKET(given=text))
        elif self.ports:
            report.say(self, "ports", say.SOCKET_PORTS())
        elif not unix_endpoint_allowed(path):
            report.say(self, "address", say.SOCKET_NOT_ALLOWED(given=text))
        else:
            return text
        return ""
