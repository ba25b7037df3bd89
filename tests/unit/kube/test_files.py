"""What the cluster's programs are given to read: images, certificates, kubeconfigs, specifications, bulk writes."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import ssl
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from tests.kube import bulk, images, pki
from tests.kube.node import conflist
from tests.kube.pods import deployment, pod, web
from tests.kube.programs import runc


def members(archive: Path) -> dict[str, bytes]:
    """Files of an archive."""
    with tarfile.open(archive) as tar:
        return {one.name: file.read() for one in tar if (file := tar.extractfile(one))}


def blob(files: dict[str, bytes], described: dict[str, Any]) -> bytes:
    """What a descriptor names, if it is what it says."""
    found = files[f"blobs/{described['digest'].replace(':', '/')}"]
    assert f"sha256:{hashlib.sha256(found).hexdigest()}" == described["digest"]
    assert len(found) == described["size"]
    return found


def test_an_image_is_named_and_every_digest_is_right(tmp_path: Path) -> None:
    tree: images.Tree = {"usr": None, "bin": images.Link("usr/bin"), "x": b"run"}
    images.write(tmp_path / "a.tar", {"localhost/some:1": ["/x"], "localhost/other:2": ["/x", "y"]}, tree)
    files, commands = members(tmp_path / "a.tar"), {}
    for named in json.loads(files["index.json"])["manifests"]:
        manifest = json.loads(blob(files, named))
        config = json.loads(blob(files, manifest["config"]))
        commands[named["annotations"]["io.containerd.image.name"]] = config["config"]["Cmd"]
        assert config["rootfs"]["diff_ids"] == [manifest["layers"][0]["digest"]]
    assert commands == {"localhost/some:1": ["/x"], "localhost/other:2": ["/x", "y"]}
    (tmp_path / "layer").write_bytes(blob(files, manifest["layers"][0]))
    with tarfile.open(tmp_path / "layer") as layer:
        assert [(one.name, one.type, one.linkname) for one in layer] == [
            ("usr", tarfile.DIRTYPE, ""),
            ("bin", tarfile.SYMTYPE, "usr/bin"),
            ("x", tarfile.REGTYPE, ""),
        ]


def test_the_same_image_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.tar", "b.tar"):
        images.write_host(tmp_path / name)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_an_image_with_python_needs_nothing_of_the_machine(tmp_path: Path) -> None:
    images.write_python(tmp_path / "a.tar", {"localhost/python:1": ["python3"]}, {"app/main.py": b"print(1)"})
    files = members(tmp_path / "a.tar")
    manifest = json.loads(blob(files, json.loads(files["index.json"])["manifests"][0]))
    (tmp_path / "layer").write_bytes(blob(files, manifest["layers"][0]))
    root = tmp_path / "root"
    root.mkdir()
    subprocess.run(["tar", "-xf", tmp_path / "layer", "-C", root], check=True)
    assert (root / "app" / "main.py").read_bytes() == b"print(1)"
    # Not in a chroot, which takes root: its own linker with its own libraries, and a library that is in the image.
    (linker,) = root.glob("usr/lib*/ld-linux-*")
    (libraries,) = {str(path.parent) for path in root.glob("usr/lib/**/libc.so.6")}
    asked = "import http.server, json, ssl, socket, sys; print(json.__file__, ssl.__file__)"
    own = [str(linker), "--library-path", libraries, f"{root}/usr/bin/python3", "-S", "-c", asked]
    said = subprocess.run(own, env={"PYTHONHOME": str(root / "usr")}, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert all(word.startswith(str(root)) for word in said.stdout.split())


@pytest.fixture
def keys(tmp_path: Path) -> pki.Pki:
    return pki.make(tmp_path / "pki", ["10.0.0.1", "127.0.0.1"], ["node1"])


def test_the_server_is_known_by_its_names_and_addresses(keys: pki.Pki) -> None:
    found = x509.load_pem_x509_certificate((keys.folder / "api.crt").read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address(a) for a in ("10.0.0.1", "127.0.0.1")]
    assert "kubernetes.default.svc" in names.get_values_for_type(x509.DNSName)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(keys.folder / "api.crt", keys.folder / "api.key")


def test_every_user_has_a_token_and_a_kubeconfig_for_each_side(keys: pki.Pki) -> None:
    assert keys.users() == [*pki.COMPONENTS, "node1"]
    rows = {line.split(",")[2]: line.split(",", 3) for line in keys.tokens.read_text().splitlines()}
    assert rows["node1"][1:] == ["system:node:node1", "node1", '"system:nodes"']
    assert rows["guest"][1:] == ["guest", "guest"]
    for where in ("inside", "outside"):
        pki.write_kubeconfigs(keys, where, f"https://{where}:1")
        made = json.loads(keys.kubeconfig("node1", where).read_text())
        assert made["clusters"][0]["cluster"]["server"] == f"https://{where}:1"
        assert made["users"][0]["user"]["token"] == keys.token("node1") == rows["node1"][0]
    assert len({row[0] for row in rows.values()}) == len(rows)
    assert keys.folder.stat().st_mode & 0o077 == 0


def test_a_container_gets_no_limits_and_keeps_its_devices() -> None:
    devices = [{"allow": False, "access": "rwm"}]
    spec: dict[str, Any] = {
        "process": {"args": ["x"], "oomScoreAdj": -998},
        "linux": {"resources": {"devices": devices, "memory": {"limit": 1}, "cpu": {"shares": 2}}, "namespaces": []},
    }
    assert runc.without_limits(spec) == {
        "process": {"args": ["x"]},
        "linux": {"resources": {"devices": devices}, "namespaces": []},
    }
    assert runc.without_limits({"process": {}, "linux": {}}) == {"process": {}, "linux": {"resources": {"devices": []}}}


def test_runc_is_called_with_the_changed_specification(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[list[str]] = []
    monkeypatch.setattr("os.execv", lambda _, words: called.append(words))
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"process": {"oomScoreAdj": 1}, "linux": {"resources": {"cpu": {}}}}))
    runc.main(["--root", "/r", "create", "--bundle", str(tmp_path), "name"])
    runc.main(["--root", "/r", "state", "name"])
    runc.main(["--root", "/r", "update", "name"])
    assert called == [
        [runc.RUNC, "--root", "/r", "create", "--bundle", str(tmp_path), "name"],
        [runc.RUNC, "--root", "/r", "state", "name"],
    ]
    assert json.loads(path.read_text()) == {"process": {}, "linux": {"resources": {"devices": []}}}


def test_a_bulk_write_is_cut_into_transactions() -> None:
    pairs = [(bulk.key("services/specs", "default", f"s{number}"), "{}") for number in range(bulk.AT_ONCE + 1)]
    first, second = (json.loads(body)["success"] for body in bulk.transactions(pairs))
    assert (len(first), len(second)) == (bulk.AT_ONCE, 1)
    put = second[0]["requestPut"]
    assert base64.b64decode(put["key"]) == f"/registry/services/specs/default/s{bulk.AT_ONCE}".encode()
    assert base64.b64decode(put["value"]) == b"{}"


def test_pods_say_where_they_run_and_who_they_are() -> None:
    made = pod("a", "x", "y", node="node2", labels={"version": "v2"})
    assert made["metadata"]["labels"] == {"app": "a", "version": "v2"}
    assert made["spec"]["nodeSelector"] == {"kubernetes.io/hostname": "node2"}
    assert "nodeSelector" not in web("b")["spec"]
    several = deployment("c", 3)["spec"]
    assert several["selector"]["matchLabels"].items() <= several["template"]["metadata"]["labels"].items()


def test_the_primary_network_translates_nothing() -> None:
    first, second = conflist("10.244.1.0/24")["plugins"]
    assert (first["type"], first["ipMasq"]) == ("ptp", False)
    assert first["ipam"]["ranges"] == [[{"subnet": "10.244.1.0/24"}]]
    assert second["type"] == "portmap"
