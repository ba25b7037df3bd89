"""Process settings: one table gives each setting its flag, environment variable, default and help.

Strings die here; the rest of the agent sees a frozen Settings. Raises Rejected on a value that cannot be used.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from tidegate.errors import Rejected

DEFAULT_RUN_DIR = Path("/run/tidegate")
DEFAULT_BPFFS = Path("/sys/fs/bpf/tidegate")
DEFAULT_CNI_CONF_DIR = Path("/etc/cni/net.d")
DEFAULT_CNI_BIN_DIR = Path("/opt/cni/bin")
ADMIN_PORT = 15000
METRICS_PORT = 15020
READY_PORT = 15021
LOG_LEVELS = ("debug", "info", "warning", "error")


def build_root() -> Path:
    """Directory with what `make build` made: TIDEGATE_BUILD, else build/ beside the source tree."""
    return Path(os.environ.get("TIDEGATE_BUILD") or Path(__file__).resolve().parents[2] / "build")


def envoy_binary() -> Path:
    """The Envoy to supervise: TIDEGATE_ENVOY, else the one `make setup` put beside this interpreter."""
    import sys

    return Path(os.environ.get("TIDEGATE_ENVOY") or Path(sys.prefix) / "bin" / "envoy")


@dataclass(frozen=True, slots=True)
class Settings:
    """How one agent process runs. Ports are TCP on localhost of the node's netns; 0 switches one off."""

    node: str
    config: tuple[str, ...]
    run_dir: Path = DEFAULT_RUN_DIR
    bpffs: Path = DEFAULT_BPFFS
    cgroup: Path | None = None  # None: the cgroup v2 root
    workers: int = 0  # fast path threads; 0 = one per usable CPU
    envoy_concurrency: int = 2
    admin_port: int = ADMIN_PORT
    metrics_port: int = METRICS_PORT
    ready_port: int = READY_PORT
    drain_seconds: float = 5.0
    log_level: str = "info"
    cni_conf_dir: Path | None = None  # None: whoever deploys the agent sees to the plugin
    cni_bin_dir: Path = DEFAULT_CNI_BIN_DIR
    cni_conflist: str = ""  # file name; empty = the first, which is what runtimes use
    access_log: bool = False  # one line per connection of the fast path, in the agent's log

    @property
    def admin_socket(self) -> Path:
        return self.run_dir / "agent.sock"

    @property
    def cni_socket(self) -> Path:
        return self.run_dir / "cni.sock"

    @property
    def xds_socket(self) -> Path:
        return self.run_dir / "xds.sock"


def from_environment(flags: Mapping[str, object], environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from flags (None = not given), then TIDEGATE_<NAME>, then defaults. Raises Rejected.

    Lists in the environment are separated by commas; there the node's name defaults to the host name.
    """
    values: dict[str, object] = {}
    for f in fields(Settings):
        given = flags.get(f.name)
        if given is None or given in ([], ()):
            text = environ.get("TIDEGATE_" + f.name.upper())
            given = _parse(f.name, text) if text else None
        if given is not None:
            values[f.name] = tuple(given) if isinstance(given, list) else given
    values.setdefault("node", socket.gethostname())
    values.setdefault("config", ())
    if not values["config"]:
        raise Rejected("--config", "is missing", "say where configuration comes from, e.g. --config file:DIR")
    for source in values["config"]:  # type: ignore[attr-defined]
        _check_source(str(source))
    settings = Settings(**values)  # type: ignore[arg-type]
    _check_ranges(settings)
    return settings


def _parse(name: str, text: str) -> object:
    if name == "config":
        return tuple(part for part in text.split(",") if part)
    if name in ("run_dir", "bpffs", "cgroup", "cni_conf_dir", "cni_bin_dir"):
        return Path(text)
    if name in ("node", "log_level", "cni_conflist"):
        return text
    if name == "access_log":
        return text.lower() in ("1", "true", "yes", "on")
    try:
        return float(text) if name == "drain_seconds" else int(text)
    except ValueError:
        raise Rejected(f"TIDEGATE_{name.upper()}={text}", "is not a number", "write for example 2") from None


def _check_ranges(settings: Settings) -> None:
    if settings.log_level.lower() not in LOG_LEVELS:
        raise Rejected(f"--log-level {settings.log_level}", "is no level", f"use {', '.join(LOG_LEVELS)}")
    for name, least, most in (
        ("workers", 0, 1024),
        ("envoy_concurrency", 1, 1024),
        ("admin_port", 0, 65535),
        ("metrics_port", 0, 65535),
        ("ready_port", 0, 65535),
        ("drain_seconds", 0, 3600),
    ):
        value = getattr(settings, name)
        if not least <= value <= most:
            flag = "--" + name.replace("_", "-")
            raise Rejected(f"{flag} {value}", "is out of range", f"use a number from {least} to {most}")


def _check_source(source: str) -> None:
    scheme, _, rest = source.partition(":")
    if scheme == "file" and rest:
        return
    if source == "kube" or scheme == "xds":
        raise Rejected(f"--config {source}", "this source is not built yet", "use file:DIR")
    raise Rejected(f"--config {source}", "is no known source", "use file:DIR")
