"""ingress of a Sidecar: what stands in front of a workload's own ports."""

from __future__ import annotations

import re
from ipaddress import ip_address

from tidegate.config import messages as say
from tidegate.config.protocols import declared_protocol
from tidegate.config.schema import ApiModel, Report
from tidegate.config.shapes.connection_pool import ConnectionPoolDoc
from tidegate.config.shapes.destination import PortNumber
from tidegate.model.entry import UNIX
from tidegate.model.kube import Protocol
from tidegate.model.net import IPAddress
from tidegate.model.sidecar import Ingress

_ENDPOINT = re.compile(r"(?P<host>|127\.0\.0\.1|0\.0\.0\.0|\[::1\]|\[::\]):(?P<port>[0-9]{1,5})")
_DIALLED = ("0.0.0.0", "[::]")  # the pod's address, whichever it is


class IngressPortDoc(ApiModel):
    ignored = frozenset({"name", "targetPort"})
    number: PortNumber
    protocol: str = ""

    def to_model(self, report: Report) -> Protocol:
        """What is spoken there."""
        known = declared_protocol(self.protocol)
        if known is None or known is Protocol.UDP:
            report.say(self, "protocol", say.INGRESS_PROTOCOL(given=self.protocol))
        return known or Protocol.TCP


class IngressDoc(ApiModel):
    ignored = frozenset({"captureMode"})
    unsupported = frozenset({"bind", "tls"})
    port: IngressPortDoc
    default_endpoint: str = ""
    connection_pool: ConnectionPoolDoc | None = None

    def to_model(self, report: Report) -> Ingress:
        """The listener; what nobody can serve was said."""
        address, port = self._endpoint(report)
        return Ingress(
            port=self.port.number,
            protocol=self.port.to_model(report),
            to_port=port,
            to_address=address,
            pool=self.connection_pool.to_model(report) if self.connection_pool else None,
        )

    def _endpoint(self, report: Report) -> tuple[IPAddress | None, int]:
        text = self.default_endpoint
        if not text:
            return None, 0
        if text.startswith(UNIX):
            why = "a socket of the pod's own files cannot be reached from outside of its mounts"
            report.say(self, "defaultEndpoint", say.NO_EFFECT(why=why))
            return None, 0
        found = _ENDPOINT.fullmatch(text)
        if found is None or not 0 < int(found["port"]) < 65536:
            report.say(self, "defaultEndpoint", say.INGRESS_ENDPOINT(given=text))
            return None, 0
        host = found["host"]
        if host in _DIALLED:
            return None, int(found["port"])
        return ip_address(host.strip("[]") or "127.0.0.1"), int(found["port"])
