"""TLS of the client, begun behind the application: ClientTLSSettings."""

from __future__ import annotations

import re
from typing import Literal

from tidegate.config import messages as say
from tidegate.config.schema import ApiModel, Report, listify
from tidegate.config.shapes.envoy_text import OneLine
from tidegate.config.tree import YamlMap, format_path, line_of
from tidegate.model.tls_files import node_path
from tidegate.model.traffic import ClientTls, Credential, TlsMode

_FILES = ("clientCertificate", "privateKey", "caCertificates", "caCrl")
_MOST_SNI = 255
_SECRET = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


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
        if self.mode == "DISABLE":
            return ClientTls(mode=TlsMode.DISABLE)
        if self.mode == "ISTIO_MUTUAL":
            self._check_of_the_mesh(report)
            names = tuple(dict.fromkeys(self.subject_alt_names))
            return ClientTls(mode=TlsMode.ISTIO_MUTUAL, names=names, sni=self.sni)
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

    def credential(self, report: Report, *, of_pods: bool) -> Credential | None:
        """The Secret that pods need; None if none. of_pods: whether the rule selects the clients that it is for."""
        if not self.credential_name or self.mode not in ("SIMPLE", "MUTUAL"):
            return None
        if not _SECRET.fullmatch(self.credential_name):
            report.say(self, "credentialName", say.CREDENTIAL_FORM(given=self.credential_name))
            return None
        if not of_pods:
            report.say(self, "credentialName", say.CREDENTIAL_NAME())
            return None
        return Credential(
            self.credential_name,
            certificate=self.mode == "MUTUAL",
            authorities=not self.insecure_skip_verify,
            line=line_of(self.at, ("credentialName",)),
            path=format_path((*self.at.path, "credentialName")),
        )

    def _check_of_the_mesh(self, report: Report) -> None:
        """Upstream refuses files here, and reads neither of the other two."""
        for key in ("clientCertificate", "privateKey", "caCertificates"):
            if self.at.get(key):
                report.say(self, key, say.MESH_HAS_ITS_OWN())
        for key in ("caCrl", "credentialName", "insecureSkipVerify"):
            if self.at.get(key):
                report.say(self, key, say.NO_EFFECT(why="mode ISTIO_MUTUAL uses what the mesh gives to each workload"))

    def _check(self, report: Report) -> None:
        if self.credential_name:
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
