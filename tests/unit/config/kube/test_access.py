"""Where the API server is, and as whom it is asked."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.certificates import Authority

from tidegate.config.sources.kube.access import Access, in_cluster, kubeconfig
from tidegate.errors import Rejected


def account(tmp_path: Path, token: str = "first\n") -> Path:
    (tmp_path / "token").write_text(token)
    (tmp_path / "ca.crt").write_text("a certificate")
    return tmp_path


@pytest.mark.parametrize(
    ("host", "port", "server"),
    [("10.96.0.1", "443", "https://10.96.0.1:443"), ("fd00::1", "6443", "https://[fd00::1]:6443")],
)
def test_a_pod_of_the_cluster(tmp_path: Path, host: str, port: str, server: str) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
    now = in_cluster(environ, account(tmp_path))
    assert now() == Access(server, b"a certificate", token="first")
    (tmp_path / "token").write_text("second")
    assert now().token == "second"
    (tmp_path / "token").unlink()
    with pytest.raises(Rejected, match="token"):
        now()


def config(**cluster_and_user: Any) -> dict[str, Any]:
    user = cluster_and_user.pop("user", {"token": "t"})
    return {
        "current-context": "here",
        "contexts": [{"name": "other"}, {"name": "here", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://api:6443/", **cluster_and_user}}],
        "users": [{"name": "u", "user": user}],
    }


def written(tmp_path: Path, content: Any) -> Access:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(content))
    return kubeconfig(path)()


def test_a_kubeconfig(tmp_path: Path) -> None:
    assert written(tmp_path, config()) == Access("https://api:6443", token="t")
    data = {"certificate-authority-data": base64.b64encode(b"ca").decode(), "tls-server-name": "kubernetes"}
    pair = {"client-certificate-data": base64.b64encode(b"c").decode(), "client-key": "k.pem"}
    (tmp_path / "k.pem").write_bytes(b"k")
    (tmp_path / "t").write_text("of a file\n")
    found = written(tmp_path, config(**data, user={**pair, "tokenFile": "t"}))
    assert found == Access("https://api:6443", b"ca", True, "kubernetes", "of a file", b"c", b"k")
    assert not written(tmp_path, config(**{"insecure-skip-tls-verify": True})).verify
    assert "of a file" not in repr(found)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (7, "is no kubeconfig"),
        ({}, "current-context"),
        ({**config(), "current-context": "gone"}, "'gone'"),
        ({**config(), "clusters": []}, "cluster of the current context"),
        (config(server="api:6443"), "is no address"),
        (config(server="ftp://api"), "is no address"),
        (config(**{"proxy-url": "http://p"}), "proxy-url"),
        (config(**{"certificate-authority": "/nowhere/ca.crt"}), "ca.crt"),
        (config(**{"certificate-authority-data": "!"}), "base64"),
        (config(user={"exec": {"command": "login"}}), "exec"),
        (config(user={"username": "u", "password": "p"}), "password"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, content: Any, says: str) -> None:
    with pytest.raises(Rejected, match=says):
        written(tmp_path, content)


def test_what_is_no_yaml_or_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("{")
    with pytest.raises(Rejected, match="not YAML"):
        kubeconfig(tmp_path / "config")()
    with pytest.raises(Rejected, match="nowhere"):
        kubeconfig(tmp_path / "nowhere")()


def test_certificates_become_a_context() -> None:
    authority = Authority("ours")
    pair = authority.issue("client")
    context = Access("https://a", authority.certificate, certificate=pair.certificate, key=pair.key).context()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert Access("https://a", verify=False).context().verify_mode is ssl.CERT_NONE
    for access in (Access("https://a", b"x"), Access("https://a", certificate=b"x", key=b"y")):
        with pytest.raises(Rejected, match="certificates"):
            access.context()
