"""Builds the cluster's programs once, into the user's cache, keyed by what builds them.

Two modules: `programs/kubernetes` is etcd and all of Kubernetes in one program, `programs/containerd` the runtime. What
is built is pinned by their go.sum; nothing of it is committed. A build that was ended goes on where it was.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.kube.golang import PROGRAMS, BuildError, Go, suitable, wanted

DISK = 7 << 30  # bytes while building: sources, objects, results
MEMORY = "3.3 GiB"  # the linker's
TELL_SECONDS = 20.0  # between two lines of progress


@dataclass(frozen=True, slots=True)
class Recipe:
    """One build.

    module: its folder in programs/. packages: what `go build` gets. links: names for the one program that it makes; ():
    one program for each package. version_of: the module in go.mod whose version the linker is told as `flags` say, with
    {version} without its v, {major} and {minor}. objects: packages that are compiled. cpu_seconds: what that took on a
    machine of 2026, all processors together.
    """

    module: str
    packages: tuple[str, ...]
    links: tuple[str, ...]
    version_of: str
    flags: str
    tags: str
    objects: int
    cpu_seconds: int

    @property
    def folder(self) -> Path:
        """Where go.mod is."""
        return PROGRAMS / self.module

    @property
    def version(self) -> str:
        """The version in go.mod, without its v. Raises BuildError if go.mod names none."""
        found = re.search(rf"^\s*(?:require )?{re.escape(self.version_of)} v(\S+)", self._go_mod(), re.MULTILINE)
        if found is None:
            raise BuildError(f"{self.folder}/go.mod requires no {self.version_of}")
        return found[1]

    def arguments(self) -> list[str]:
        """What follows `go build -o PLACE`."""
        major, minor, *_ = self.version.split(".")
        flags = self.flags.format(version=self.version, major=major, minor=minor)
        tags = [f"-tags={self.tags}"] if self.tags else []
        return ["-trimpath", "-buildvcs=false", *tags, f"-ldflags=-s -w {flags}", *self.packages]

    def key(self, go: Go) -> str:
        """Changes with everything that the result depends on."""
        digest = hashlib.sha256(repr((go.version, self.arguments(), self.links)).encode())
        for path in sorted(self.folder.iterdir()):
            digest.update(f"\0{path.name}\0".encode() + path.read_bytes())
        return digest.hexdigest()[:16]

    def place(self, go: Go, cache: Path) -> Path:
        """The folder of the finished programs."""
        return cache / f"{self.module}-{self.version}-{self.key(go)}"

    def _go_mod(self) -> str:
        return (self.folder / "go.mod").read_text()


_GIT = "-X k8s.io/component-base/version.git"
KUBERNETES = Recipe(
    module="kubernetes",
    packages=(".",),
    links=("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet", "kubectl"),
    version_of="k8s.io/kubernetes",
    # Without them the programs report a version that clients refuse to compare with.
    flags=f"{_GIT}Version=v{{version}} {_GIT}Major={{major}} {_GIT}Minor={{minor}} {_GIT}TreeState=clean "
    "-X k8s.io/client-go/pkg/version.gitVersion=v{version}",
    tags="",
    objects=2880,
    cpu_seconds=1490,
)
CONTAINERD = Recipe(
    module="containerd",
    packages=tuple(
        f"github.com/containerd/containerd/v2/cmd/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")
    ),
    links=(),
    version_of="github.com/containerd/containerd/v2",
    flags="-X github.com/containerd/containerd/v2/version.Version=v{version}",
    tags="no_btrfs,no_devmapper,no_zfs,no_aufs",
    objects=1030,
    cpu_seconds=207,
)
RECIPES = (KUBERNETES, CONTAINERD)


@dataclass(frozen=True, slots=True)
class Programs:
    """Folders of finished programs."""

    kubernetes: Path
    containerd: Path


def cache_home() -> Path:
    """The folder in the user's cache; not made yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tidegate" / "kube"


def programs(say: Callable[[str], None], cache: Path | None = None) -> Programs:
    """The cluster's programs, built if they are not there yet. Raises BuildError.

    say: gets what is told meanwhile, a line at a time: how long it will take before it begins, then how far it is.
    """
    cache = cache or cache_home()
    cache.mkdir(parents=True, exist_ok=True)
    go = suitable(wanted(recipe.folder / "go.mod" for recipe in RECIPES), cache, say)
    with _alone(cache, say):
        missing = [recipe for recipe in RECIPES if not recipe.place(go, cache).exists()]
        if missing:
            say(announcement(missing, cache))
            _check_disk(cache)
            for recipe in missing:
                _build(recipe, go, cache, say)
            shutil.rmtree(cache / "work")  # sources and objects: 6 GB that only another build would need
    return Programs(*(recipe.place(go, cache) for recipe in RECIPES))


def announcement(missing: list[Recipe], cache: Path) -> str:
    """What is about to happen, and how long it takes on this machine."""
    processors = len(os.sched_getaffinity(0))
    minutes = round(sum(recipe.cpu_seconds for recipe in missing) / processors / 60 * 1.1) + 1
    what = " and ".join(f"{recipe.module} {recipe.version}" for recipe in missing)
    size = f"{DISK >> 30} GB of disk meanwhile, 240 MB afterwards, {MEMORY} of memory"
    goes_on = "; objects of a build that was ended are there, so less" if (cache / "work" / "objects").exists() else ""
    return f"building {what}, once, into {cache}: about {minutes} minutes on {processors} processors{goes_on} ({size})"


def _build(recipe: Recipe, go: Go, cache: Path, say: Callable[[str], None]) -> None:
    work, begin = cache / "work", time.monotonic()
    fresh = work / recipe.module
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    out = fresh / "kubelab" if recipe.links else fresh
    command = [str(go.program), "build", "-v", "-o", str(out) + ("" if recipe.links else "/"), *recipe.arguments()]
    own = {"GOMODCACHE": str(work / "modules"), "GOCACHE": str(work / "objects")}
    own |= {"GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-modcacherw", "CGO_ENABLED": "0"}
    said: list[str] = []
    with subprocess.Popen(
        command, cwd=recipe.folder, env={**os.environ, **own}, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stderr is not None
        reader = threading.Thread(target=said.extend, args=(child.stderr,), daemon=True)
        reader.start()
        try:
            while _runs(child):
                say(progress(recipe, said, time.monotonic() - begin))
        except BaseException:
            child.terminate()
            raise
        reader.join()
    if child.returncode:
        words = "".join(line for line in said if not line.startswith("go: downloading"))[-3000:]
        raise BuildError(f"{recipe.module}: go build ended with {child.returncode}\n{words}")
    for name in recipe.links:
        (fresh / name).symlink_to("kubelab")
    fresh.rename(recipe.place(go, cache))
    say(f"{recipe.module} {recipe.version} is built, {_clock(time.monotonic() - begin)}")


def _runs(child: subprocess.Popen[str]) -> bool:
    """Whether it still runs after a while."""
    try:
        child.wait(TELL_SECONDS)
    except subprocess.TimeoutExpired:
        return True
    return False


def progress(recipe: Recipe, said: list[str], passed: float) -> str:
    """How far `go build -v` is by the lines that it has written; passed: seconds."""
    downloads = sum(line.startswith("go: downloading") for line in said)
    done = len(said) - downloads
    if not done:
        return f"{recipe.module}: {downloads} modules fetched, {_clock(passed)}"
    return f"{recipe.module}: {done} of {max(recipe.objects, done)} packages, {_clock(passed)}"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _check_disk(cache: Path) -> None:
    free = shutil.disk_usage(cache).free
    if free < DISK:
        hint = "make room, or set XDG_CACHE_HOME"
        raise BuildError(f"{cache}: {free >> 20} MB are free and building takes {DISK >> 20}: {hint}")


@contextmanager
def _alone(cache: Path, say: Callable[[str], None]) -> Iterator[None]:
    """One build at a time; who comes second finds what the first has built."""
    with (cache / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"somebody else builds in {cache}: waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
