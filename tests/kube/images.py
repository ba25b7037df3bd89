"""Images for pods, as archives that a runtime takes up without a registry."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.kube.golang import PROGRAMS

PAUSE = "localhost/pause:1"
HOST = "localhost/host:1"  # empty directories; the machine's /usr comes by hostPath
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link in an image."""

    to: str


# Path in the image, without a leading slash -> content of a program, a link, or None for a directory.
Tree = Mapping[str, bytes | Link | None]

EMPTY: Tree = {
    **dict.fromkeys(("usr", "etc", "proc", "sys", "dev", "tmp", "run", "var", "root", "opt")),
    **{name: Link(f"usr/{name}") for name in ("bin", "sbin", "lib", "lib64")},
}


def write(archive: Path, name: str, tree: Tree, command: Sequence[str] = ()) -> None:
    """An OCI archive of one layer; the same tree gives the same bytes. name: with a tag other than latest."""
    layer = _tar(tree)
    config = {
        "architecture": _MACHINES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Cmd": list(command), "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }
    blobs = [layer, json.dumps(config).encode()]
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _described(blobs[1], "application/vnd.oci.image.config.v1+json"),
        "layers": [_described(layer, "application/vnd.oci.image.layer.v1.tar")],
    }
    blobs.append(json.dumps(manifest).encode())
    named = _described(blobs[2], manifest["mediaType"]) | {"annotations": {"io.containerd.image.name": name}}
    index = {"schemaVersion": 2, "manifests": [named]}
    files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": json.dumps(index).encode()}
    files |= {f"blobs/sha256/{_digest(blob).removeprefix('sha256:')}": blob for blob in blobs}
    archive.write_bytes(_tar({"blobs": None, "blobs/sha256": None, **files}))


def write_pause(archive: Path) -> None:
    """What holds a pod's namespaces, compiled here."""
    program = archive.with_name("pause")
    source = PROGRAMS / "pause.c"
    subprocess.run(["gcc", "-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror", "-o", program, source], check=True)
    write(archive, PAUSE, {"pause": program.read_bytes()}, ["/pause"])
    program.unlink()


def write_host(archive: Path) -> None:
    """The image of pods that run programs of this machine."""
    write(archive, HOST, EMPTY)


def _tar(tree: Tree) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, content in tree.items():
            entry = tarfile.TarInfo(path)
            entry.mode = 0o1777 if path == "tmp" else 0o755
            match content:
                case None:
                    entry.type = tarfile.DIRTYPE
                case Link(to):
                    entry.type, entry.linkname = tarfile.SYMTYPE, to
                case bytes():
                    entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content) if isinstance(content, bytes) else None)
    return made.getvalue()


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _described(blob: bytes, kind: object) -> dict[str, object]:
    return {"mediaType": kind, "digest": _digest(blob), "size": len(blob)}
