from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.documents import documents

from tidegate.errors import Rejected
from tidegate.model.names import ObjectKey
from tidegate_lab import spec
from tidegate_lab.manifest import files_of

TWO = """\
# a comment
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---

apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        command: [run]
        ports:
        - containerPort: 70000
---
# nothing here
"""


def test_documents_know_their_key_and_their_lines() -> None:
    first, second = documents(TWO)
    assert first.key == ObjectKey("", "Namespace", "", "shop")
    assert second.key == ObjectKey("apps", "Deployment", "shop", "web")
    assert (first.line, first.first_line, first.last_line) == (2, 1, 4)
    assert (second.line, second.first_line, second.last_line) == (7, 5, 19)


def test_a_key_does_not_depend_on_the_api_version() -> None:
    old, new = documents(
        """\
        {apiVersion: networking.istio.io/v1alpha3, kind: VirtualService, metadata: {name: a}}
        ---
        {apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a}}
        """
    )
    assert old.key == new.key


def test_an_error_inside_an_object_names_its_line() -> None:
    with pytest.raises(Rejected) as caught:
        spec.read(documents(TWO)[1], spec.Deployment)
    assert caught.value.subject.startswith(
        "/m/app.yaml:19: Deployment shop/web spec.template.spec.containers.0.ports.0"
    )


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("a: [1", 1, "is not YAML"),
        ("a: 1\n..", 2, "is not YAML"),
        ("a: 1\nb\nc: 2", 2, "is not YAML"),
        ("\n- 1", 2, "is not a Kubernetes object"),
        ("kind: Pod", 1, "has no apiVersion and kind"),
        ("apiVersion: v1\nkind: Pod", 1, "has no metadata.name"),
        ("apiVersion: v1\nkind: List", 1, "List has no items"),
        ("apiVersion: v1\nkind: List\nitems:\n- kind: Pod\n", 4, "has no apiVersion and kind"),
        ("apiVersion: v1\nkind: PodList\nitems: []", 1, "write kind: List"),
    ],
)
def test_what_is_no_object_is_refused_with_its_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(Rejected, match=reason) as caught:
        documents(text)
    assert caught.value.subject.startswith(f"/m/app.yaml:{line}")


def test_a_container_without_a_command_is_refused() -> None:
    (pod,) = documents("{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: c, image: x}]}}")
    with pytest.raises(Rejected, match="container c needs a command"):
        spec.read(pod, spec.Pod)


def test_a_directory_stands_for_its_manifests_in_order(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "notes.txt"):
        (tmp_path / name).write_text("")
    assert [path.name for path in files_of([tmp_path])] == ["a.yml", "b.yaml"]
    with pytest.raises(Rejected, match="no such file"):
        files_of([tmp_path / "absent"])


def test_the_items_of_a_list_are_objects_with_their_own_lines() -> None:
    pod, namespace, after = documents(
        """\
        kind: List
        apiVersion: v1
        items:
        - apiVersion: v1
          kind: Pod
          metadata: {name: a}
        - {apiVersion: v1, kind: Namespace, metadata: {name: shop}}
        ---
        {apiVersion: v1, kind: Service, metadata: {name: b}}
        """
    )
    assert [str(d.key) for d in (pod, namespace, after)] == ["Pod default/a", "Namespace shop", "Service default/b"]
    assert [d.line for d in (pod, namespace, after)] == [4, 7, 9]
    assert [d.item for d in (pod, namespace, after)] == [True, True, False]
