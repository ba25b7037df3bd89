"""TLS of the client, begun behind the application: ClientTLSSettings."""

from __future__ import annotations

from typing import Literal

from tidegate.config import messages as say
from tidegate.config.schema import ApiModel, Report, listify
from tidegate.config.shapes.envoy_text import OneLine
from tidegate.config.tree import YamlMap
from tidegate.model.tls_files import node_path
from tidegate.model.traffic import ClientTls, TlsMode

_FILES = ("clientCertificate", "privateKey", "caCertificates", "caCrl")
_MOST_SNI = 255


class ClientTlsDoc(ApiModel):
    mode: Literal["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"] = "DISABLE"
    client_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    ca_crl: str = ""
    credential_name: str = ""
    subject_alt_names: list[OneLine] = []
    sni: OneLine = ""
    insecure_skip_verify: bool = False

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        listify(data, "subjectAltNames")

    def to_model(self, report: Report, namespace: str) -> ClientTls:
        """namespace: of the rule, whose files and Secrets are meant."""
        if self.mode == "ISTIO_MUTUAL":
            report.say(self, "mode", say.MESH_TLS())
            return ClientTls(mode=TlsMode.DISABLE)
        if self.mode == "DISABLE":
            return ClientTls(mode=TlsMode.DISABLE)
        self._check(report)
        return ClientTls(
            mode=TlsMode(self.mode),
            certificate=self._file("clientCertificate", self.client_certificate, namespace, report),
            key=self._file("privateKey", self.private_key, namespace, report),
            ca=self._file("caCertificates", self.ca_certificates, namespace, report),
            crl=self._file("caCrl", self.ca_crl, namespace, report),
            credential=self.credential_name,
            names=tuple(dict.fromkeys(self.subject_alt_names)),
            sni=self.sni,
            verify=not self.insecure_skip_verify,
        )

    def _check(self, report: Report) -> None:
        if self.credential_name:
            report.say(self, "credentialName", say.CREDENTIAL_NAME())
            for key in _FILES:
                if key in self.at:
                    report.say(self, key, say.EXCLUSIVE(first="credentialName", second=key))
        elif self.mode == "MUTUAL":
            for key in ("clientCertificate", "privateKey"):
                if not self.at.get(key):
                    report.say(self, key if key in self.at else None, say.NEEDS_ONE_OF(names=f"{key}, credentialName"))
        if self.insecure_skip_verify:
            for key in ("caCertificates", "caCrl", "subjectAltNames"):
                if key in self.at:
                    report.say(self, key, say.EXCLUSIVE(first="insecureSkipVerify", second=key))
        if len(self.sni.encode()) > _MOST_SNI:
            report.say(self, "sni", say.OUT_OF_BOUNDS(detail=f"is longer than {_MOST_SNI} bytes"))

    def _file(self, key: str, path: str, namespace: str, report: Report) -> str:
        try:
            return node_path(path, namespace) if path else ""
        except ValueError:
            report.say(self, key, say.NO_TLS_FILE(given=path))
            return ""
