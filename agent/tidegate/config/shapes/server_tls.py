"""TLS settings of a Gateway's server (ServerTLSSettings; Server.TLSOptions of Istio 1.0)."""

from __future__ import annotations

import re
from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator

from tidegate.config import messages as say
from tidegate.config.schema import ApiModel, Report, listify
from tidegate.config.tree import YamlMap
from tidegate.model.gateway import CertificateFiles, ServerTls, ServerTlsMode

# Numbers as Istio's API gives them, which its decoder takes in place of a name.
_MODES = ("PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL")
_VERSIONS = ("TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3")
_ENVOY_VERSIONS = {name: name.replace("TLSV", "TLSv") for name in _VERSIONS[1:]}
# What both Istio and Envoy's library know. TLS 1.3 has suites of its own, which cannot be chosen.
CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "AES128-GCM-SHA256",
    "AES128-SHA",
    "AES256-GCM-SHA384",
    "AES256-SHA",
)
_SPKI = re.compile(r"[A-Za-z0-9+/]{43}=")
_HASH = re.compile(r"[0-9a-fA-F]{64}|([0-9a-fA-F]{2}:){31}[0-9a-fA-F]{2}")
_OF_CLIENTS = (
    *("caCertificates", "caCertCredentialName", "caCrl"),
    *("subjectAltNames", "verifyCertificateSpki", "verifyCertificateHash"),
)
CREDENTIALS_MOST = 2  # of one server: RSA and ECDSA


class _Modes(NamedTuple):
    later: frozenset[str]  # read, and not yet done


MODES = _Modes(frozenset({"AUTO_PASSTHROUGH"}))


def _named(names: tuple[str, ...]) -> BeforeValidator:
    def name(given: object) -> object:
        number = isinstance(given, int) and not isinstance(given, bool) and 0 <= given < len(names)
        return names[given] if number and isinstance(given, int) else given

    return BeforeValidator(name)


Mode = Annotated[
    Literal["PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"], _named(_MODES)
]
Version = Annotated[Literal["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"], _named(_VERSIONS)]


class TlsCertificateDoc(ApiModel):
    server_certificate: str
    private_key: str
    ca_certificates: str = ""


class ServerTlsDoc(ApiModel):
    https_redirect: bool = False
    mode: Mode = "PASSTHROUGH"
    server_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    ca_crl: str = ""
    credential_name: str = ""
    credential_names: list[str] = []
    ca_cert_credential_name: str = ""
    tls_certificates: list[TlsCertificateDoc] = []
    subject_alt_names: list[str] = []
    verify_certificate_spki: list[str] = []
    verify_certificate_hash: list[str] = []
    min_protocol_version: Version = "TLS_AUTO"
    max_protocol_version: Version = "TLS_AUTO"
    cipher_suites: list[str] = []

    @classmethod
    def normalise(cls, data: YamlMap, report: Report) -> None:
        listify(data, "subjectAltNames", "verifyCertificateSpki", "verifyCertificateHash", "cipherSuites")

    @property
    def says_more_than_redirect(self) -> bool:
        """Whether anything is said that only TLS has a use for."""
        return bool(self.at.keys() - {"httpsRedirect", "mode"}) or self.mode != "PASSTHROUGH"

    def to_model(self, report: Report) -> ServerTls:
        mode = ServerTlsMode(self.mode)
        if self.mode in MODES.later:
            report.say(self, "mode", say.LATER_MODE(mode=self.mode))
        files = [CertificateFiles(c.server_certificate, c.private_key) for c in self.tls_certificates]
        if self.server_certificate or self.private_key:
            files.insert(0, CertificateFiles(self.server_certificate, self.private_key))
        credentials = [*filter(None, [self.credential_name]), *self.credential_names]
        if mode.ends_here and mode is not ServerTlsMode.ISTIO_MUTUAL:
            self._check_certificate(bool(credentials), report)
            self._check_authorities(mode, bool(credentials), report)
        elif mode is ServerTlsMode.PASSTHROUGH:
            self._check_passthrough(report)
        self._check_pins(report)
        return ServerTls(
            mode=mode,
            credentials=tuple(dict.fromkeys(credentials)),
            ca_credential=self.ca_cert_credential_name,
            files=tuple(files),
            ca_file=next(filter(None, [self.ca_certificates, *(c.ca_certificates for c in self.tls_certificates)]), ""),
            crl_file=self.ca_crl,
            subject_alt_names=tuple(self.subject_alt_names),
            spki=tuple(self.verify_certificate_spki),
            hashes=tuple(self.verify_certificate_hash),
            min_version=_ENVOY_VERSIONS.get(self.min_protocol_version, ""),
            max_version=_ENVOY_VERSIONS.get(self.max_protocol_version, ""),
            ciphers=tuple(self._ciphers(report)),
        )

    def _check_certificate(self, credentials: bool, report: Report) -> None:
        pair = bool(self.server_certificate or self.private_key)
        sources = [
            name
            for name, given in (
                ("credentialName", self.credential_name),
                ("credentialNames", self.credential_names),
                ("serverCertificate", pair),
                ("tlsCertificates", self.tls_certificates),
            )
            if given
        ]
        if not sources:
            report.say(self, None, say.NO_SERVER_CERTIFICATE(mode=self.mode))
        elif len(sources) > 1:
            report.say(self, sources[1], say.EXCLUSIVE(first=sources[0], second=sources[1]))
        elif pair and not (self.server_certificate and self.private_key):
            lacks = "privateKey" if self.server_certificate else "serverCertificate"
            report.say(self, None, say.HALF_PAIR(have="the other half", lacks=lacks))
        for name, many in (("credentialNames", self.credential_names), ("tlsCertificates", self.tls_certificates)):
            if len(many) > CREDENTIALS_MOST:
                report.say(
                    self, name, say.OUT_OF_BOUNDS(detail=f"has more than {CREDENTIALS_MOST}: one RSA, one ECDSA")
                )

    def _check_authorities(self, mode: ServerTlsMode, credentials: bool, report: Report) -> None:
        of_files = self.ca_certificates or any(c.ca_certificates for c in self.tls_certificates)
        if mode.asks_client and not (of_files or credentials or self.ca_cert_credential_name):
            report.say(self, None, say.NO_AUTHORITIES(mode=self.mode))
        if not mode.asks_client:
            for key in _OF_CLIENTS:
                if key in self.at:
                    report.say(self, key, say.NO_EFFECT(why=f"with mode {self.mode} no client shows a certificate"))

    def _check_passthrough(self, report: Report) -> None:
        for key in sorted(self.at.keys() - {"mode", "httpsRedirect"}):
            report.say(self, key, say.NO_EFFECT(why="with mode PASSTHROUGH the TLS of a connection is not ended here"))

    def _check_pins(self, report: Report) -> None:
        for key, texts, form in (
            ("verifyCertificateSpki", self.verify_certificate_spki, _SPKI),
            ("verifyCertificateHash", self.verify_certificate_hash, _HASH),
        ):
            for index, text in enumerate(texts):
                if not form.fullmatch(text):
                    report.say(self, (key, index), say.NO_DIGEST(given=text))
        least, most = _VERSIONS.index(self.min_protocol_version), _VERSIONS.index(self.max_protocol_version)
        if 0 < most < least:
            report.say(self, "minProtocolVersion", say.VERSIONS_CROSS())

    def _ciphers(self, report: Report) -> list[str]:
        known: list[str] = []
        for index, name in enumerate(self.cipher_suites):
            if name not in CIPHERS:
                report.say(self, ("cipherSuites", index), say.NO_CIPHER(given=name))
            elif name in known:
                report.say(self, ("cipherSuites", index), say.NO_EFFECT(why="it is there already"))
            else:
                known.append(name)
        return known
