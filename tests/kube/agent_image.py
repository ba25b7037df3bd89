"""The agent's image for stories: the directory that `make install` makes, with programs of this machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.kube import images

ROOT = Path(__file__).resolve().parents[2]
INSTALLED = ROOT / "build" / "kube-agent" / "opt"  # made beforehand: in a cell nobody reaches PyPI
NAME = "docker.io/library/tidegate:0.1.0"  # as a runtime calls what the manifests call tidegate:0.1.0


def write(archive: Path) -> None:
    """An archive of the image. /usr is the machine's, which the pod has to mount (usr_of_the_machine())."""
    folder = archive.with_suffix("")
    for path, content in images.EMPTY.items():
        if isinstance(content, images.Link):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).symlink_to(content.to)
        else:
            (folder / path).mkdir(parents=True, exist_ok=True)
    (folder / "var" / "run").symlink_to("/run")
    assert INSTALLED.is_dir(), f"{INSTALLED} is not there: run `make kube-agent`"
    shutil.copytree(INSTALLED, folder / "opt", symlinks=True, dirs_exist_ok=True)
    images.write_folder(archive, NAME, folder, {})


PATCH = """
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [{base}]
patches:
  - target: {{kind: DaemonSet, name: tidegate}}
    patch: |-
      - {{op: add, path: /spec/template/spec/volumes/-, value: {{name: usr, hostPath: {{path: /usr}}}}}}
      - op: add
        path: /spec/template/spec/containers/0/volumeMounts/-
        value: {{name: usr, mountPath: /usr, readOnly: true}}
"""


def kustomization(folder: Path) -> Path:
    """deploy/kubernetes, with the machine's /usr; a folder for `kubectl apply -k`."""
    made = folder / "mesh"
    made.mkdir()
    base = os.path.relpath(ROOT / "deploy" / "kubernetes", made)  # kustomize takes no absolute path
    (made / "kustomization.yaml").write_text(PATCH.format(base=base))
    return made
