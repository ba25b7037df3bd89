from __future__ import annotations

import json
from pathlib import Path

import yaml
from tests.support.documents import cluster, documents

from tidegate.model.names import ObjectKey
from tidegate_lab.cluster import Cluster
from tidegate_lab.clusterdir import ClusterDir, at_line

TEXT = """\
# routes of the shop
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
---
# send everything to web
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}   # exactly so
spec: {hosts: [web]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web}
"""


def files(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


def user_copy(directory: Path) -> list[str]:
    (text,) = (text for name, text in files(directory).items() if name.startswith("user-"))
    return text.splitlines()


def test_copies_keep_every_line_where_it_was(tmp_path: Path) -> None:
    ClusterDir(tmp_path).write(cluster(TEXT), [])
    original, copy = TEXT.splitlines(), user_copy(tmp_path)
    assert copy[:5] == [""] * 5
    assert copy[5:] == original[5:]


def test_a_service_appears_once_completed_and_where_it_was_written(tmp_path: Path) -> None:
    ClusterDir(tmp_path).write(cluster(TEXT), [])
    text = (tmp_path / "service-default_web.yaml").read_text()
    assert text.splitlines()[1] == "apiVersion: v1"
    assert text.splitlines()[0] == ""
    spec = yaml.safe_load(text)["spec"]
    assert (spec["clusterIP"], spec["clusterIPs"]) == ("10.96.1.0", ["10.96.1.0", "fd77:96::100"])
    assert sum("kind: Service\n" in text for text in files(tmp_path).values()) == 1


def test_origins_name_the_users_files(tmp_path: Path) -> None:
    ClusterDir(tmp_path).write(cluster(TEXT), [])
    origins = json.loads((tmp_path / ".origins.json").read_text())
    assert set(origins.values()) == {"/m/app.yaml"}
    assert set(origins) == {name for name in files(tmp_path) if name.endswith(".yaml")}


def test_a_document_that_was_replaced_leaves_its_old_copy(tmp_path: Path) -> None:
    state, directory = cluster(TEXT), ClusterDir(tmp_path)
    directory.write(state, [])
    rule = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: web}\nspec: {host: other}\n"
    state.apply(documents(rule, "/m/rule.yaml"))
    directory.write(state, [])
    texts = files(tmp_path)
    assert sum("kind: DestinationRule" in text for text in texts.values()) == 1
    assert any("host: other" in text for text in texts.values())
    assert sum("kind: VirtualService" in text for text in texts.values()) == 1


def test_the_revision_grows_with_each_change_and_only_then(tmp_path: Path) -> None:
    state, directory = cluster(TEXT), ClusterDir(tmp_path)
    assert directory.write(state, []) == 1
    assert directory.write(state, []) == 1
    state.apply(documents(TEXT))
    assert directory.write(state, []) == 1
    state.delete([ObjectKey("networking.istio.io", "DestinationRule", "default", "web")])
    assert directory.write(state, []) == 2
    assert (tmp_path / "REVISION").read_text() == "2\n"


def test_what_is_deleted_goes_from_the_directory(tmp_path: Path) -> None:
    state, directory = cluster(TEXT), ClusterDir(tmp_path)
    directory.write(state, [])
    state.delete(list(state.documents))
    directory.write(state, [])
    assert set(files(tmp_path)) == {".origins.json", "REVISION"}


def test_an_empty_cluster_has_a_revision_too(tmp_path: Path) -> None:
    assert ClusterDir(tmp_path / "new").write(Cluster(), []) == 1


def test_a_body_can_begin_at_a_line() -> None:
    text = at_line(3, {"kind": "Pod"})
    assert text == "\n\nkind: Pod\n"


def test_items_of_a_list_are_copied_one_by_one_where_they_were(tmp_path: Path) -> None:
    text = """\
apiVersion: v1
kind: List   # größer
items:
- apiVersion: v1
  kind: Service
  metadata: {name: web}
  spec: {ports: [{port: 80}]}
- apiVersion: networking.istio.io/v1
  kind: VirtualService
  metadata: {name: web}

  spec: {hosts: [web]}
- {apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: web}, spec: {host: web}}
"""
    ClusterDir(tmp_path).write(cluster(text), [])
    copies = {name: body for name, body in files(tmp_path).items() if name.startswith("user-")}
    bodies = [yaml.safe_load(body) for _, body in sorted(copies.items())]
    assert sorted(body["kind"] for body in bodies) == ["DestinationRule", "VirtualService"]
    for name, body in copies.items():
        first = next(n for n, line in enumerate(body.splitlines()) if line)
        original = text.splitlines()[first : len(body.splitlines())]
        assert body.splitlines()[first:] == [original[0].replace("- ", "  ", 1), *original[1:]]
        assert json.loads((tmp_path / ".origins.json").read_text())[name] == "/m/app.yaml"
