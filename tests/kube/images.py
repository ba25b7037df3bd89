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
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
# Of Python's library: what nobody in a pod imports, and what is made again.
_LEFT_OUT = {"__pycache__", "test", "tests", "idlelib", "lib2to3", "tkinter", "ensurepip", "pydoc_data", "turtledemo"}
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


def write(archive: Path, commands: Mapping[str, Sequence[str]], tree: Tree) -> None:
    """An OCI archive of images that share one layer; the same tree gives the same bytes.

    commands: what each image runs, by its name, which has a tag other than latest.
    """
    settings = {name: {"Cmd": list(command), "Env": [f"PATH={_PATH}"]} for name, command in commands.items()}
    _write(archive, settings, _tar(tree))


def write_folder(archive: Path, name: str, folder: Path, settings: Mapping[str, object]) -> None:
    """An OCI archive of one image of all that is in a folder, as root's. settings: of the image, as OCI calls them."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name, filter=_of_root)
    _write(archive, {name: settings}, made.getvalue())


def _of_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def _write(archive: Path, settings: Mapping[str, Mapping[str, object]], layer: bytes) -> None:
    blobs, named = [layer], []
    for name, of_image in settings.items():
        config, manifest = _image(layer, of_image)
        blobs += [config, manifest]
        named.append(_described(manifest, _MANIFEST) | {"annotations": {"io.containerd.image.name": name}})
    index = {"schemaVersion": 2, "manifests": named}
    files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": json.dumps(index).encode()}
    files |= {f"blobs/sha256/{_digest(blob).removeprefix('sha256:')}": blob for blob in blobs}
    archive.write_bytes(_tar({"blobs": None, "blobs/sha256": None, **files}))


def write_pause(archive: Path) -> None:
    """What holds a pod's namespaces, compiled here."""
    program = archive.with_name("pause")
    source = PROGRAMS / "pause.c"
    subprocess.run(["gcc", "-static", "-Os", "-s", "-Wall", "-Wextra", "-Werror", "-o", program, source], check=True)
    write(archive, {PAUSE: ["/pause"]}, {"pause": program.read_bytes()})
    program.unlink()


def write_host(archive: Path) -> None:
    """The image of pods that run programs of this machine."""
    write(archive, {HOST: ()}, EMPTY)


def write_python(archive: Path, commands: Mapping[str, Sequence[str]], files: Mapping[str, bytes]) -> None:
    """Images with this machine's Python and its library in them, for manifests that mount nothing.

    commands: as in write(), `python3` is found; files: what else is in them, by path without a leading slash.
    """
    write(archive, commands, {**EMPTY, **_folders([*files]), **python_tree(), **files})


def python_tree() -> Tree:
    """The distribution's interpreter, its library without tests, and the shared objects of both."""
    program = Path("/usr/bin/python3").resolve()
    library = Path("/usr/lib") / program.name
    files = [path for path in sorted(library.rglob("*")) if path.is_file() and not _LEFT_OUT & set(path.parts)]
    objects = _objects(program, *(path for path in files if path.suffix == ".so"))
    found = {_inside(path): path.read_bytes() for path in [program, *files, *objects]}
    return {**_folders([*found]), **found, "usr/bin/python3": Link(program.name)}


def _objects(*programs: Path) -> list[Path]:
    """What the dynamic linker loads for these, under the names by which it looks, and itself."""
    said = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    return sorted({Path(word) for word in said.split() if word.startswith("/") and not word.endswith(":")})


def _inside(path: Path) -> str:
    """Where a file of the machine is in an image; /lib is a link there."""
    return str((path.parent.resolve() / path.name).relative_to("/"))


def _folders(paths: Sequence[str]) -> Tree:
    """The directories above files, those nearest to the root first."""
    above = {str(parent) for path in paths for parent in Path(path).parents if str(parent) != "."}
    return dict.fromkeys(sorted(above - EMPTY.keys()))


def _image(layer: bytes, settings: Mapping[str, object]) -> tuple[bytes, bytes]:
    """Configuration and manifest."""
    config = {
        "architecture": _MACHINES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": dict(settings),
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }
    body = json.dumps(config).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _described(body, "application/vnd.oci.image.config.v1+json"),
        "layers": [_described(layer, "application/vnd.oci.image.layer.v1.tar")],
    }
    return body, json.dumps(manifest).encode()


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


def _described(blob: bytes, kind: str) -> dict[str, object]:
    return {"mediaType": kind, "digest": _digest(blob), "size": len(blob)}
