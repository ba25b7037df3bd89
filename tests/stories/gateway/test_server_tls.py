"""TLS of a gateway's servers, seen by curl and openssl: what is shown, who is let in, what is spoken."""

from __future__ import annotations

import base64
import hashlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.support.certificates import Authority, Pair, secret
from tests.support.eventually import HANG_SECONDS, eventually
from tests.support.gateways import gateway, server
from tests.support.lab import MANIFESTS, ROOT, Lab
from tests.support.outside import curl, external_address

HOST = "shop.example"
AUTHORITY, FOREIGN = Authority(), Authority("foreign")
ECDSA = AUTHORITY.issue(HOST)
RSA = AUTHORITY.issue(HOST, key=rsa.generate_private_key(65537, 2048))
GOOD, OTHER = AUTHORITY.issue("good.example", "192.0.2.9"), AUTHORITY.issue("other.example")
STRANGER = FOREIGN.issue("good.example", "192.0.2.9")
RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge}
spec:
  hosts: ["*"]
  gateways: [istio-system/edge]
  http: [{route: [{destination: {host: web}}]}]
"""
# Routes of one server of two at one port, by the name that its port gives them.
SIGNED = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: edge, namespace: istio-system}
spec:
  configPatches:
  - applyTo: HTTP_ROUTE
    match: {context: GATEWAY, routeConfiguration: {name: https.443.second.edge.istio-system}}
    patch:
      operation: MERGE
      value: {request_headers_to_add: [{header: {key: x-signed, value: second}}]}
"""

Apply = Callable[..., None]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab("servertls")
    lab.up(MANIFESTS / "web.yaml", ROOT / "samples" / "gateway" / "ingressgateway.yaml")
    yield lab
    lab.down()


@pytest.fixture(scope="module")
def address(lab: Lab) -> str:
    return external_address(lab, "istio-ingressgateway")


@pytest.fixture
def serve(lab: Lab) -> Iterator[Apply]:
    """serve("mode: SIMPLE, ...", documents ...): one server of HTTPS has this TLS. Removed afterwards."""

    def applied(tls: str, *documents: str) -> None:
        edge = gateway("edge", server(443, "HTTPS", HOST, tls=tls))
        lab.apply("\n---\n".join((edge, RULE, *documents)))

    yield applied
    lab.delete(lab.run_dir / "applied-by-test.yaml")


@pytest.fixture
def asked(address: str, tmp_path: Path) -> Callable[[Pair | None], int]:
    """The status of the answer to a client that shows this certificate, or none; 0 = none."""
    trusted = keep(tmp_path, "trusted.crt", AUTHORITY.certificate)

    def ask(pair: Pair | None) -> int:
        shown: tuple[str | Path, ...] = ()
        if pair is not None:
            certificate, key = keep(tmp_path, "c.crt", pair.certificate), keep(tmp_path, "c.key", pair.key)
            shown = ("--cert", certificate, "--key", key)
        return curl(address, f"https://{HOST}/", "--cacert", trusted, *shown).status

    return ask


@pytest.fixture
def spoken(address: str) -> Callable[..., dict[str, str]]:
    """What openssl says of a handshake with these options; nothing if there was none."""

    def handshake(*options: str) -> dict[str, str]:
        command = ["openssl", "s_client", "-connect", f"{address}:443", "-servername", HOST, "-brief", *options]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=HANG_SECONDS, check=False
        )
        lines = (line.partition(": ") for line in (done.stdout + done.stderr).splitlines())
        found = {key: value for key, _, value in lines}
        return found if "CONNECTION ESTABLISHED" in found else {}

    return handshake


def keep(directory: Path, name: str, content: bytes) -> Path:
    path = directory / name
    path.write_bytes(content)
    return path


def files(lab: Lab, name: str, pair: Pair) -> tuple[Path, Path]:
    """A certificate and its key where the gateway reads them."""
    return keep(lab.run_dir, f"{name}.crt", pair.certificate), keep(lab.run_dir, f"{name}.key", pair.key)


@pytest.mark.api(
    *("Server.TLSOptions.caCertificates", "Server.TLSOptions.serverCertificate", "Server.TLSOptions.privateKey")
)
def test_files_say_what_is_shown_and_who_may_sign_clients(
    lab: Lab, serve: Apply, asked: Callable[[Pair | None], int]
) -> None:
    certificate, key = files(lab, "server", ECDSA)
    authorities = keep(lab.run_dir, "clients.crt", AUTHORITY.certificate)
    serve(f"mode: MUTUAL, serverCertificate: {certificate}, privateKey: {key}, caCertificates: {authorities}")
    eventually(lambda: asked(GOOD) == 200, "the files are read")
    assert (asked(STRANGER), asked(None)) == (0, 0)
    keep(lab.run_dir, "clients.crt", FOREIGN.certificate)
    eventually(lambda: asked(STRANGER) == 200, "another authority is in the file")
    assert asked(GOOD) == 0


@pytest.mark.api("Server.TLSOptions.subjectAltNames")
@pytest.mark.parametrize("names", ["[good.example]", "[nobody.example, 192.0.2.9]"])
def test_clients_have_one_of_the_names(serve: Apply, asked: Callable[[Pair | None], int], names: str) -> None:
    serve(
        f"mode: MUTUAL, credentialName: shop, subjectAltNames: {names}",
        ECDSA.secret("shop", ca=AUTHORITY.certificate),
    )
    assert (asked(GOOD), asked(OTHER), asked(STRANGER), asked(None)) == (200, 0, 0, 0)


def digests(pair: Pair) -> dict[str, str]:
    """Of a certificate, as verifyCertificateSpki and verifyCertificateHash have them."""
    public = pair.parsed.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {
        "verifyCertificateSpki": base64.b64encode(hashlib.sha256(public).digest()).decode(),
        "verifyCertificateHash": pair.parsed.fingerprint(SHA256()).hex(),
    }


@pytest.mark.parametrize("field", ["verifyCertificateSpki", "verifyCertificateHash"])
def test_clients_have_the_key_or_the_certificate_itself(
    serve: Apply, asked: Callable[[Pair | None], int], field: str
) -> None:
    serve(
        f'mode: MUTUAL, credentialName: shop, {field}: ["{digests(GOOD)[field]}"]',
        ECDSA.secret("shop", ca=AUTHORITY.certificate),
    )
    assert (asked(GOOD), asked(OTHER), asked(STRANGER), asked(None)) == (200, 0, 0, 0)


PAIR = {"cert": ECDSA.certificate, "key": ECDSA.key}
SECRETS = {
    "of one kind": ("credentialName: shop", (ECDSA.secret("shop", ca=AUTHORITY.certificate),)),
    "by other keys": ("credentialName: shop", (secret("shop", {**PAIR, "cacert": AUTHORITY.certificate}),)),
    "of its own": (
        "credentialName: shop",
        (ECDSA.secret("shop"), secret("shop-cacert", {"ca.crt": AUTHORITY.certificate})),
    ),
    "that comes first": (
        "credentialName: shop",
        (ECDSA.secret("shop", ca=FOREIGN.certificate), secret("shop-cacert", {"cacert": AUTHORITY.certificate})),
    ),
    "by its name": (
        "credentialNames: [shop], caCertCredentialName: clients",
        (ECDSA.secret("shop", ca=FOREIGN.certificate), secret("clients", {"ca.crt": AUTHORITY.certificate})),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("names", "documents"), SECRETS.values(), ids=SECRETS)
def test_who_may_sign_clients_is_in_a_secret(
    serve: Apply, asked: Callable[[Pair | None], int], names: str, documents: tuple[str, ...]
) -> None:
    serve(f"mode: MUTUAL, {names}", *documents)
    assert (asked(GOOD), asked(STRANGER), asked(None)) == (200, 0, 0)


@pytest.mark.parametrize("source", ["credentialNames", "tlsCertificates"])
def test_clients_are_shown_the_certificate_of_the_kind_that_they_know(
    lab: Lab, serve: Apply, spoken: Callable[..., dict[str, str]], source: str
) -> None:
    if source == "credentialNames":
        serve("mode: SIMPLE, credentialNames: [rsa, ecdsa]", RSA.secret("rsa"), ECDSA.secret("ecdsa"))
    else:
        pairs = [files(lab, name, pair) for name, pair in (("rsa", RSA), ("ecdsa", ECDSA))]
        listed = ", ".join(f"{{serverCertificate: {c}, privateKey: {k}}}" for c, k in pairs)
        serve(f"mode: SIMPLE, tlsCertificates: [{listed}]")
    for kind in ("RSA", "ECDSA"):
        suite = f"ECDHE-{kind}-AES128-GCM-SHA256"
        eventually(lambda suite=suite: spoken("-tls1_2", "-cipher", suite).get("Ciphersuite") == suite, kind)  # type: ignore[misc]


def test_of_the_suites_those_that_are_listed_are_spoken(serve: Apply, spoken: Callable[..., dict[str, str]]) -> None:
    wanted, other = "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"
    serve("mode: SIMPLE, credentialName: shop", ECDSA.secret("shop"))
    assert spoken("-tls1_2", "-cipher", other)["Ciphersuite"] == other
    serve(f"mode: SIMPLE, credentialName: shop, cipherSuites: [{wanted}]", ECDSA.secret("shop"))
    assert spoken("-tls1_2", "-cipher", wanted)["Ciphersuite"] == wanted
    assert spoken("-tls1_2", "-cipher", other) == {}


VERSIONS = {"TLSv1.1": "-tls1_1", "TLSv1.2": "-tls1_2", "TLSv1.3": "-tls1_3"}
BOUNDS = {
    "nothing": ("", "TLSv1.2 TLSv1.3"),
    "TLSV1_3 at least": ("minProtocolVersion: TLSV1_3", "TLSv1.3"),
    "TLSV1_2 at most": ("maxProtocolVersion: TLSV1_2", "TLSv1.2"),
    "TLSV1_0 at least": (
        "minProtocolVersion: TLSV1_0, cipherSuites: [ECDHE-ECDSA-AES128-SHA, ECDHE-ECDSA-AES128-GCM-SHA256]",
        "TLSv1.1 TLSv1.2 TLSv1.3",
    ),
}


@pytest.mark.parametrize(("bounds", "expected"), BOUNDS.values(), ids=BOUNDS)
def test_of_the_versions_those_within_the_bounds_are_spoken(
    serve: Apply, spoken: Callable[..., dict[str, str]], bounds: str, expected: str
) -> None:
    serve(f"mode: SIMPLE, credentialName: shop{', ' if bounds else ''}{bounds}", ECDSA.secret("shop"))
    found = {version: spoken(option, "-cipher", "ALL:@SECLEVEL=0") for version, option in VERSIONS.items()}
    assert {version for version, told in found.items() if told} == set(expected.split())
    assert all(told["Protocol version"] == version for version, told in found.items() if told)


@pytest.mark.api("Port.name")
def test_the_routes_of_a_server_are_called_by_the_name_of_its_port(lab: Lab, address: str, tmp_path: Path) -> None:
    trusted = keep(tmp_path, "trusted.crt", AUTHORITY.certificate)
    both = AUTHORITY.issue("first.example", "second.example")
    servers = [
        server(443, "HTTPS", f"{name}.example", tls="mode: SIMPLE, credentialName: both", name=name)
        for name in ("first", "second")
    ]
    lab.apply("\n---\n".join((gateway("edge", *servers), RULE, both.secret("both"), SIGNED)))
    signed = [
        curl(address, f"https://{name}.example/", "--cacert", trusted).json["headers"].get("x-signed", "")
        for name in ("first", "second")
    ]
    lab.delete(lab.run_dir / "applied-by-test.yaml")
    assert signed == ["", "second"]
