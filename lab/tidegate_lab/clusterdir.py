"""The directory that the agents read: the user's documents as they wrote them, and the lab's own Pods and Services.

Copies keep every line where it was, so an error found in a copy has the line of the original; `.origins.json` maps the
names back. Files are replaced by rename and REVISION is written last: who reads the same REVISION before and after the
other files has read one state.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tidegate_lab.cluster import OWNED, Cluster, ServiceObject
from tidegate_lab.manifest import Manifest, ManifestFile
from tidegate_lab.pod import PodRunner

try:
    from yaml import CSafeDumper as _Dumper
except ImportError:  # PyYAML without libyaml
    from yaml import SafeDumper as _Dumper  # type: ignore[assignment]


@dataclass(slots=True)
class ClusterDir:
    """Writes the directory, and only what changed. Use from one task at a time."""

    path: Path
    revision: int = 0
    _written: dict[str, str] = field(default_factory=dict)
    _numbers: dict[ManifestFile, int] = field(default_factory=dict)  # of file versions, so that names are stable
    _next: int = 1

    def write(self, cluster: Cluster, pods: Iterable[PodRunner]) -> int:
        """Bring the directory up to date; the revision that it has now."""
        files: dict[str, str] = {}
        origins: dict[str, str] = {}
        for source, live in cluster.sources().items():
            visible = [document for document in live if (document.key.group, document.key.kind) not in OWNED]
            stem = f"user-{self._number(source):04}-{source.path.stem}"
            if whole := [document for document in visible if not document.item]:
                files[f"{stem}.yaml"], origins[f"{stem}.yaml"] = keep_lines(source.text, whole), str(source.path)
            for document in visible:
                if document.item:
                    name = f"{stem}-{document.line}-{document.node.start_mark.column}.yaml"
                    files[name], origins[name] = document.cut(), str(source.path)
        for service in cluster.services():
            name = f"service-{service.name.namespace}_{service.name.name}.yaml"
            files[name] = at_line(service.document.line, service_body(service))
            origins[name] = str(service.document.source.path)
        for runner in pods:
            name = f"pod-{runner.pod.id.namespace}_{runner.pod.id.name}.yaml"
            files[name] = at_line(runner.pod.document.line, pod_body(runner))
            origins[name] = str(runner.pod.document.source.path)
        files[".origins.json"] = json.dumps(origins, indent=1, sort_keys=True) + "\n"
        if files == self._written:
            return self.revision
        self._sync(files)
        self.revision += 1
        replace(self.path / "REVISION", f"{self.revision}\n")
        return self.revision

    def _number(self, source: ManifestFile) -> int:
        if source not in self._numbers:
            self._numbers[source] = self._next
            self._next += 1
        return self._numbers[source]

    def _sync(self, files: Mapping[str, str]) -> None:
        self.path.mkdir(exist_ok=True, mode=0o755)
        for name, text in files.items():
            if self._written.get(name) != text:
                replace(self.path / name, text)
        for name in self._written.keys() - files.keys():
            (self.path / name).unlink(missing_ok=True)
        self._written = dict(files)


def replace(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old or the new text, never a part."""
    temporary = path.with_name(f".new-{path.name}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def keep_lines(text: str, documents: Sequence[Manifest]) -> str:
    """text with every line outside of the documents emptied."""
    kept = {line for document in documents for line in range(document.first_line, document.last_line + 1)}
    return "".join(line + "\n" if n in kept else "\n" for n, line in enumerate(text.splitlines(), 1))


def at_line(line: int, body: Mapping[str, Any]) -> str:
    """body as YAML that begins at that line."""
    return "\n" * (line - 1) + yaml.dump(body, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def service_body(service: ServiceObject) -> dict[str, Any]:
    """The Service document, completed with the addresses that it got."""
    body = dict(service.document.body)
    ips = [str(address) for address in service.addresses]
    extra: dict[str, Any] = {"type": service.spec.type}
    if ips:
        families = [f"IPv{address.version}" for address in service.addresses]
        extra |= {"clusterIP": ips[0], "clusterIPs": ips, "ipFamilies": families}
    body["metadata"] = {**body["metadata"], "namespace": service.name.namespace}
    body["spec"] = {**(body.get("spec") or {}), **extra}
    return body


def pod_body(runner: PodRunner) -> dict[str, Any]:
    """The pod as an API server would show it."""
    pod = runner.pod
    ips = [{"ip": str(ip)} for ip in runner.ips]
    metadata: dict[str, Any] = {"name": pod.id.name, "namespace": pod.id.namespace}
    if pod.labels:
        metadata["labels"] = dict(pod.labels)
    if pod.annotations:
        metadata["annotations"] = dict(pod.annotations)
    if pod.owner.kind == "Deployment":
        replica_set = pod.id.name.rpartition("-")[0]
        owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": replica_set, "controller": True}
        metadata["ownerReferences"] = [owner]
    spec = {**pod.raw_spec, "nodeName": runner.node.name, "serviceAccountName": pod.spec.service_account_name}
    conditions = [{"type": "Ready", "status": "True" if runner.ready else "False"}]
    status: dict[str, Any] = {"phase": runner.phase, "conditions": conditions, "hostIP": str(runner.node.ips[0])}
    if ips:
        status |= {"podIP": ips[0]["ip"], "podIPs": ips}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}
