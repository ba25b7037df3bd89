"""`python -m tests.kube.pin v1.37.2`: the cluster's Kubernetes is this version from now on (maintainers).

Writes go.mod and go.sum of `programs/kubernetes`. Kubernetes' own go.mod replaces its parts by folders that its module
does not have, and what a dependency replaces counts for nothing; so ours replaces them by versions that are published.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.kube.building import KUBERNETES, cache_home
from tests.kube.golang import Go, suitable

_STAGING = "./staging/src/"


def go_mod(theirs: Mapping[str, Any], version: str) -> str:
    """Our go.mod before `go mod tidy`. theirs: Kubernetes' as `go mod edit -json` tells it; version: v1.MINOR.PATCH.

    Raises ValueError for a replacement that is none of Kubernetes' parts.
    """
    part = "v0" + version.removeprefix("v1")
    lines = [
        f"module tidegate/tests/kube\n\ngo {theirs['Go']}\n\nrequire {KUBERNETES.version_of} {version}\n\nreplace ("
    ]
    for one in theirs["Replace"]:
        path = one["Old"]["Path"]
        if one["New"]["Path"] != _STAGING + path:
            raise ValueError(f"{path} is replaced by {one['New']['Path']}: look what that is")
        lines.append(f"\t{path} => {path} {part}")
    return "\n".join([*lines, ")", ""])


def main(version: str) -> int:
    """Write both files; needs the network."""
    go = suitable((1, 21, 0), cache_home(), print)
    with tempfile.TemporaryDirectory() as nowhere:
        told = _json(go, Path(nowhere), "mod", "download", "-json", f"{KUBERNETES.version_of}@{version}")
        theirs = _json(go, Path(nowhere), "mod", "edit", "-json", told["GoMod"])
    (KUBERNETES.folder / "go.mod").write_text(go_mod(theirs, version))
    return subprocess.run([go.program, "mod", "tidy"], cwd=KUBERNETES.folder, check=False).returncode


def _json(go: Go, where: Path, *words: str) -> dict[str, Any]:
    environment = {**os.environ, "GOTOOLCHAIN": "local"}
    done = subprocess.run([go.program, *words], cwd=where, env=environment, capture_output=True, text=True, check=True)
    value: dict[str, Any] = json.loads(done.stdout)
    return value


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
