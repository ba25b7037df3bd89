"""Who is in a list of revoked certificates is refused, as a client and as a server, and whoever is not goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.configs import service
from tests.support.eventually import eventually
from tests.support.lab import Lab
from tests.support.mesh_origin import certified, mesh_authority
from tests.support.mesh_pods import NAMESPACE, POD, PROBE, RULE, WEB, server
from tests.support.revoking import revoking

from tidegate.model.identity import Certified

SLEEPS = '["/bin/sleep", "infinity"]'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authority, and a list in which nobody is."""
    folder = tmp_path_factory.mktemp("authority")
    mesh_authority(folder)
    (folder / "crl.pem").write_bytes(revoking(folder))
    return folder


@pytest.fixture(scope="module")
def secure(folder: Path) -> tuple[str, Certified]:
    return server(folder, "secure", "secure")


@pytest.fixture(scope="module")
def lab(folder: Path, secure: tuple[str, Certified], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    manifest = tmp_path_factory.mktemp("manifest") / "mesh.yaml"
    parts = (
        NAMESPACE,
        service("secure", "http:80:8443"),
        service("inside", "http:80:8443"),
        secure[0],
        POD.format(name="inside", account="inside", command=WEB, inject="true", more=PROBE),
        POD.format(name="first", account="first", command=SLEEPS, inject="true", more=""),
        POD.format(name="outside", account="outside", command=SLEEPS, inject="false", more=""),
    )
    manifest.write_text("\n---\n".join(parts))
    lab = Lab("revoked")
    lab.env |= {"TIDEGATE_CA_DIR": str(folder), "TIDEGATE_CRL": str(folder / "crl.pem")}
    lab.up(manifest)
    for host in ("secure", "inside"):
        lab.apply(RULE.format(host=host, more=""))
    yield lab
    lab.down()


def replace(file: Path, content: bytes) -> None:
    beside = file.with_suffix(".new")
    beside.write_bytes(content)
    beside.rename(file)


def asked_by(lab: Lab, folder: Path, caller: str) -> str:
    """What openssl prints that shows a caller's certificate to the pod in the mesh, and asks."""
    address = lab.address("default/inside", "4")
    shown = ["-cert", str(folder / f"{caller}.pem"), "-key", str(folder / f"{caller}.pem")]
    command = ["/usr/bin/openssl", "s_client", "-alpn", "istio", "-ign_eof", *shown, "-connect", f"{address}:8443"]
    request = "GET / HTTP/1.1\r\nHost: inside\r\nConnection: close\r\n\r\n"
    done = lab.exec("outside", *command, stdin=request, check=False)
    return done.stdout + done.stderr


def unanswered(text: str, good: str) -> str:
    """The text if it has nothing good in it."""
    return "" if good in text else text


def answer_of(lab: Lab, host: str) -> str:
    done = lab.exec(
        "first", "/usr/bin/curl", "-sS", "-w", " %{http_code}", "--max-time", "20", f"http://{host}/", check=False
    )
    return done.stdout


def test_a_client_that_is_revoked_is_refused_by_name_of_the_reason(lab: Lab, folder: Path) -> None:
    authority = mesh_authority(folder)
    callers = {name: certified(authority, name) for name in ("good", "bad")}
    for name, own in callers.items():
        (folder / f"{name}.pem").write_bytes(own.chain + own.key)
    for name in callers:
        eventually(lambda name=name: "HTTP/1.1 200" in asked_by(lab, folder, name), f"{name} gets through")  # type: ignore[misc]
    replace(folder / "crl.pem", revoking(folder, callers["bad"]))
    refused = eventually(lambda: unanswered(asked_by(lab, folder, "bad"), "HTTP/1.1 200"), "the list counts")
    assert "certificate revoked" in refused
    assert "HTTP/1.1 200" in asked_by(lab, folder, "good")


def test_a_server_that_is_revoked_hears_nothing(lab: Lab, folder: Path, secure: tuple[str, Certified]) -> None:
    eventually(lambda: answer_of(lab, "secure").endswith(" 200"), "the server answers")
    replace(folder / "crl.pem", revoking(folder, secure[1]))
    eventually(lambda: answer_of(lab, "secure").endswith(" 503"), "the list counts")
    eventually(lambda: "certificate revoked" in lab.tidegate("lab", "logs", "secure").stdout, "it is told why")
    assert answer_of(lab, "inside").endswith(" 200")


def test_a_list_that_is_none_leaves_that_of_before_and_is_told(
    lab: Lab, folder: Path, secure: tuple[str, Certified]
) -> None:
    replace(folder / "crl.pem", revoking(folder, secure[1]))
    eventually(lambda: answer_of(lab, "secure").endswith(" 503"), "the list counts")
    replace(folder / "crl.pem", b"no list")
    trouble = eventually(lambda: [one for one in lab.status()["unhealthy"] if "crl.pem" in one], "status says so")
    assert "has no list of revoked certificates" in trouble[0]
    assert answer_of(lab, "secure").endswith(" 503"), "that of before counts"
    replace(folder / "crl.pem", revoking(folder))
    eventually(lambda: answer_of(lab, "secure").endswith(" 200"), "nobody is in it any more")
    eventually(lambda: lab.status()["healthy"], "and all is well")
    assert lab.status()["certificates"]["troubles"] == []
