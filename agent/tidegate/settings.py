"""Process settings: one table gives each setting its flag, environment variable, default, limits and help.

Strings die here; the rest of the agent sees a frozen Settings. Raises Rejected on a value that cannot be used.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from tidegate.errors import Rejected

DEFAULT_RUN_DIR = Path("/run/tidegate")
DEFAULT_GATEWAY_DIR = Path("/run/tidegate-gateway")
DEFAULT_CA_DIR = Path("/var/lib/tidegate/ca")
DEFAULT_CA_STATE_DIR = Path("/run/tidegate-ca")
DEFAULT_BPFFS = Path("/sys/fs/bpf/tidegate")
DEFAULT_CNI_CONF_DIR = Path("/etc/cni/net.d")
DEFAULT_CNI_BIN_DIR = Path("/opt/cni/bin")
_CA_DIR_HELP = "root certificate and key of the embedded authority; made when a certificate is needed"
_CA_HELP = "HOST:PORT of the authority that certifies, by Istio's API; default: the embedded one in --ca-dir"
_CA_ROOT_HELP = "file with the root (PEM) by which that authority is known"
_CA_TOKEN_HELP = "file with the token that it is shown, read anew for each certificate; default: none"
_CRL_HELP = "file with lists of revoked certificates (CRLs in PEM), one of each root; who is in one is refused"
_CA_NAME_HELP = "name that the authority's own certificate has to have; default: the HOST of --ca"
DEFAULT_NETNS_DIR = Path("/run/netns")  # of containerd, CRI-O and iproute2
ADMIN_PORT = 15000
METRICS_PORT = 15020
READY_PORT = 15021
XDS_PORT = 15010  # Istio's port for configuration without TLS
CA_PORT = 15012  # Istio's port for certificates
NODE_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,251}[A-Za-z0-9])?")  # of a host; also part of a cgroup's name
_LABEL_PAIR = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_./]*=[-A-Za-z0-9_.]*")
_PLACE = re.compile(r"([A-Za-z0-9][-A-Za-z0-9.]{0,252}|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAMED = re.compile(rf"{NAMESPACE.pattern}/[a-z0-9]([-a-z0-9.]{{0,251}}[a-z0-9])?")
LONGEST_SOCKET = 107  # bytes of a unix socket's path (unix(7), sun_path)
LONGEST_RUN_DIR = LONGEST_SOCKET - len("/relay/4194304.sock")  # the longest name of those in it, by the greatest pid
LOG_LEVELS = ("debug", "info", "warning", "error")
CLUSTER_HOST = "KUBERNETES_SERVICE_HOST"  # by which a pod finds its cluster's API server
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def build_root() -> Path:
    """Directory with what `make build` made: TIDEGATE_BUILD, else build/ beside the source tree."""
    return Path(os.environ.get("TIDEGATE_BUILD") or Path(__file__).resolve().parents[2] / "build")


def envoy_binary() -> Path:
    """The Envoy to supervise: TIDEGATE_ENVOY, else the one `make setup` put beside this interpreter."""
    import sys

    return Path(os.environ.get("TIDEGATE_ENVOY") or Path(sys.prefix) / "bin" / "envoy")


def relay_binary() -> Path:
    """The relay to supervise: TIDEGATE_RELAY, else the one that `make build` made."""
    return Path(os.environ.get("TIDEGATE_RELAY") or build_root() / "relay" / "tidegate-relay")


def _of(default: Any, text: str, **limits: Any) -> Any:
    """A setting: its default, its help text, and `least` and `most`, `choices` or the expression that it is `like`."""
    return field(default=default, metadata={"help": text, **limits})


@dataclass(frozen=True, slots=True)
class Settings:
    """How one agent process runs: the only list of settings. Flags, TIDEGATE_* variables, checks and help come from it.

    Ports are TCP on localhost of the node's netns; 0 switches one off.
    """

    node: str = _of("", "name of this node; default: host name", like=NODE_NAME)
    config: tuple[str, ...] = _of(
        (), "where configuration comes from: file:DIR, kube, kube:KUBECONFIG; may be repeated"
    )
    cluster_domain: str = _of("", "what names of services end with, and trust domain; default: cluster.local")
    unix_endpoints: Path | None = _of(None, "directory whose unix sockets ServiceEntries may lead to; default: none")
    tls_files: Path | None = _of(
        None, "what rules of namespace N may name is in folder N of this one; default: /etc/tidegate/tls"
    )
    ca_dir: Path = _of(DEFAULT_CA_DIR, _CA_DIR_HELP)
    ca: str = _of("", _CA_HELP, place=True)
    ca_root: Path | None = _of(None, _CA_ROOT_HELP)
    ca_token: Path | None = _of(None, _CA_TOKEN_HELP)
    ca_name: str = _of("", _CA_NAME_HELP)
    crl: Path | None = _of(None, _CRL_HELP)
    certificate_seconds: float = _of(86_400.0, "how long a workload's certificate is good", least=10, most=31_536_000)
    run_dir: Path = _of(DEFAULT_RUN_DIR, "sockets and state of this agent", sockets=True)
    bpffs: Path = _of(DEFAULT_BPFFS, "directory for pinned kernel objects")
    cgroup: Path | None = _of(None, "cgroup v2 directory that holds the pods; default: the root")
    workers: int = _of(0, "fast path threads; 0 = one per usable CPU", least=0, most=64)  # FP_WORKERS_MAX
    envoy_concurrency: int = _of(2, "Envoy's worker threads", least=1, most=1024)
    admin_port: int = _of(ADMIN_PORT, "localhost port of the admin API, 0 = none", least=0, most=65535)
    metrics_port: int = _of(METRICS_PORT, "localhost port of /metrics, 0 = none", least=0, most=65535)
    ready_port: int = _of(READY_PORT, "localhost port of /healthz/ready, 0 = none", least=0, most=65535)
    xds_listen: str = _of(
        "",
        "ADDRESS:PORT where Envoys and gRPC clients that are not ours get their configuration; default: none",
        address=True,
    )
    xds_secrets: tuple[str, ...] = _of(
        (),
        "NAMESPACE=PATH, a unix socket where clients of that namespace get its Secrets, too; may be repeated",
        socket=True,
    )
    drain_seconds: float = _of(5.0, "time for live connections at agent --end", least=0, most=3600)
    cni_conf_dir: Path | None = _of(
        None, "keep our CNI plugin chained in this directory's configuration; default: whoever deploys the agent does"
    )
    cni_bin_dir: Path = _of(DEFAULT_CNI_BIN_DIR, "where the plugin goes then")
    cni_conflist: str = _of("", "file to chain it in; default: the first by name, which is what runtimes use")
    netns_dir: Path = _of(DEFAULT_NETNS_DIR, "where the runtime names network namespaces: pods that ran before")
    netns_names: str = _of(
        "mounts",
        "how Envoy finds pods' namespaces: by mounts of ours, or by links to the runtime's names (in a container)",
        choices=("mounts", "links"),
    )
    daemonset: str = _of(
        "",
        "NAMESPACE/NAME of the DaemonSet that this agent is of: one that ends after that was deleted leaves nothing",
        named=True,
    )
    dns_capture: bool = _of(True, "answer pods' questions for names of the mesh; no: their own resolvers do")
    access_log: bool = _of(False, "log one line per connection of the fast path")
    log_level: str = _of("info", f"one of {', '.join(LOG_LEVELS)}", choices=LOG_LEVELS)

    @property
    def admin_socket(self) -> Path:
        return self.run_dir / "agent.sock"

    @property
    def cni_socket(self) -> Path:
        return self.run_dir / "cni.sock"

    @property
    def xds_socket(self) -> Path:
        return self.run_dir / "xds.sock"


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """How one gateway process runs: the only list of its settings, used as that of an agent.

    It runs in a pod of its own; ports are TCP, and 0 switches one off.
    """

    selector: str = _of("", "labels of this workload, K=V[,K=V...]: Gateways whose selector they have are for it")
    namespace: str = _of(
        "", "namespace of this workload: of its Secrets, and what exportTo means; default: POD_NAMESPACE"
    )
    node: str = _of("", "name of the node, for endpoints nearby; default: NODE_NAME", like=NODE_NAME)
    config: tuple[str, ...] = _of(
        (), "where configuration comes from: file:DIR, kube, kube:KUBECONFIG; may be repeated"
    )
    cluster_domain: str = _of("", "what names of services end with; default: cluster.local")
    service_account: str = _of(
        "", "service account of this workload: who it is to servers and clients of the mesh; default: SERVICE_ACCOUNT"
    )
    ca_dir: Path = _of(DEFAULT_CA_DIR, _CA_DIR_HELP)
    ca: str = _of("", _CA_HELP, place=True)
    ca_root: Path | None = _of(None, _CA_ROOT_HELP)
    ca_token: Path | None = _of(None, _CA_TOKEN_HELP)
    ca_name: str = _of("", _CA_NAME_HELP)
    crl: Path | None = _of(None, _CRL_HELP)
    certificate_seconds: float = _of(86_400.0, "how long its certificate is good", least=10, most=31_536_000)
    run_dir: Path = _of(DEFAULT_GATEWAY_DIR, "sockets and state of this gateway", sockets=True)
    envoy_concurrency: int = _of(2, "Envoy's worker threads", least=1, most=1024)
    admin_port: int = _of(ADMIN_PORT, "localhost port of the admin API, 0 = none", least=0, most=65535)
    ready_port: int = _of(READY_PORT, "port of /healthz/ready, on every address, 0 = none", least=0, most=65535)
    drain_seconds: float = _of(20.0, "time for live connections after SIGTERM", least=0, most=3600)
    log_level: str = _of("info", f"one of {', '.join(LOG_LEVELS)}", choices=LOG_LEVELS)

    @property
    def labels(self) -> Mapping[str, str]:
        """The selector as pairs."""
        return dict(pair.split("=", 1) for pair in self.selector.split(",") if pair)

    @property
    def admin_socket(self) -> Path:
        return self.run_dir / "agent.sock"

    @property
    def xds_socket(self) -> Path:
        return self.run_dir / "xds.sock"


S = TypeVar("S", Settings, GatewaySettings)


def kind(setting: Field[Any], table: type[Settings] | type[GatewaySettings] = Settings) -> Any:
    """The type of one value of a setting: str, int, float, bool or Path."""
    annotation = get_type_hints(table)[setting.name]
    return next(t for t in (get_args(annotation) or (annotation,)) if t not in (type(None), ...))


def is_list(setting: Field[Any]) -> bool:
    """Whether a setting may be given several times."""
    return str(setting.type).startswith("tuple")


def from_environment(flags: Mapping[str, object], environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from flags (None = not given), then TIDEGATE_<NAME>, then defaults. Raises Rejected.

    Lists in the environment are separated by commas; there the node's name defaults to the host name.
    """
    settings = _build(Settings, flags, environ)
    return settings if settings.node else replace(settings, node=socket.gethostname())


def gateway_from_environment(flags: Mapping[str, object], environ: Mapping[str, str] = os.environ) -> GatewaySettings:
    """As from_environment(), for a gateway. Raises Rejected."""
    settings = _build(GatewaySettings, flags, environ)
    if not settings.selector:
        raise Rejected("--selector", "is missing", "say whose Gateways these are, e.g. --selector istio=ingressgateway")
    for pair in settings.selector.split(","):
        if not _LABEL_PAIR.fullmatch(pair):
            raise Rejected(f"--selector {settings.selector}", f"{pair!r} is no K=V", "write K=V[,K=V...]")
    return replace(
        settings,
        namespace=settings.namespace or environ.get("POD_NAMESPACE") or "default",
        service_account=settings.service_account or environ.get("SERVICE_ACCOUNT") or "default",
        node=settings.node or environ.get("NODE_NAME", ""),
    )


def _build(table: type[S], flags: Mapping[str, object], environ: Mapping[str, str]) -> S:
    values: dict[str, Any] = {}
    for f in fields(table):
        given = flags.get(f.name)
        if given is None or given in ([], ()):
            text = environ.get("TIDEGATE_" + f.name.upper())
            given = _parse(f, text, table) if text else None
        if given is not None:
            values[f.name] = tuple(given) if isinstance(given, list) else given
    settings = table(**values)
    if not settings.config:
        raise Rejected("--config", "is missing", "say where configuration comes from, e.g. --config file:DIR")
    for source in settings.config:
        check_source(str(source), environ)
    for f in fields(table):
        _check_limits(f, getattr(settings, f.name))
    if settings.ca and settings.ca_root is None:
        raise Rejected(f"--ca {settings.ca}", "needs --ca-root", "name the file with the root by which it is known")
    return settings


def _parse(setting: Field[Any], text: str, table: type[Settings] | type[GatewaySettings]) -> object:
    if is_list(setting):
        return tuple(part for part in text.split(",") if part)
    wanted = kind(setting, table)
    variable = f"TIDEGATE_{setting.name.upper()}={text}"
    if wanted is bool:
        if text.lower() not in (*_YES, *_NO):
            raise Rejected(variable, "is neither yes nor no", "write true or false")
        return text.lower() in _YES
    try:
        return wanted(text)
    except ValueError:
        raise Rejected(variable, "is not a number", "write for example 2") from None


def _check_limits(setting: Field[Any], value: Any) -> None:
    flag = "--" + setting.name.replace("_", "-")
    choices = setting.metadata.get("choices")
    if choices and value.lower() not in choices:
        raise Rejected(f"{flag} {value}", "is none of its values", f"use {', '.join(choices)}")
    like = setting.metadata.get("like")
    if like is not None and value and not like.fullmatch(value):
        raise Rejected(f"{flag} {value!r}", "is no name", "use letters, digits, '-', '_' and '.', at most 253")
    if setting.metadata.get("sockets") and len(str(value.absolute()).encode()) > LONGEST_RUN_DIR:
        why = f"has more than {LONGEST_RUN_DIR} bytes, so sockets in it would have no address (unix(7))"
        raise Rejected(f"{flag} {value}", why, "use a shorter one")
    if setting.metadata.get("named") and value and not _NAMED.fullmatch(value):
        raise Rejected(f"{flag} {value}", "is not NAMESPACE/NAME", "write for example tidegate-system/tidegate")
    if setting.metadata.get("address") and value:
        listen_address(value, flag)
    if setting.metadata.get("place") and value and not _PLACE.fullmatch(value):
        raise Rejected(f"{flag} {value}", "is not HOST:PORT", f"write for example ca.mesh.svc:{CA_PORT}")
    for text in value if setting.metadata.get("socket") else ():
        namespace_socket(text, flag)
    least, most = setting.metadata.get("least"), setting.metadata.get("most")
    if least is not None and not least <= value <= most:
        raise Rejected(f"{flag} {value}", "is out of range", f"use a number from {least} to {most}")


def listen_address(text: str, flag: str) -> tuple[str, int]:
    """ADDRESS:PORT of a server; port 0 = one that is free. Raises Rejected."""
    host, _, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        ip_address(host)
        number = int(port) if port.isdecimal() and len(port) <= 5 else -1
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise Rejected(f"{flag} {text}", "is not ADDRESS:PORT", f"write for example 127.0.0.1:{XDS_PORT}")
    return host, number


def namespace_socket(text: str, flag: str) -> tuple[str, Path]:
    """NAMESPACE=PATH of a socket. Raises Rejected."""
    namespace, _, path = text.partition("=")
    if not NAMESPACE.fullmatch(namespace) or not path.startswith("/") or len(path.encode()) > LONGEST_SOCKET:
        why = f"is not NAMESPACE=PATH with an absolute path of at most {LONGEST_SOCKET} bytes"
        raise Rejected(f"{flag} {text}", why, "write for example edge=/run/tidegate-xds/edge.sock")
    return namespace, Path(path)


def check_source(source: str, environ: Mapping[str, str] = os.environ, flag: str = "--config") -> None:
    """Raises Rejected for a source that there is not, and for a cluster of which this process is no pod."""
    scheme, _, rest = source.partition(":")
    if scheme in ("file", "kube") and rest:
        return
    if source == "kube":
        if not environ.get(CLUSTER_HOST):
            why = f"{CLUSTER_HOST} is not set, as it is in a pod"
            raise Rejected(f"{flag} kube", why, "use kube:KUBECONFIG outside of a cluster")
        return
    if scheme == "xds":
        raise Rejected(f"{flag} {source}", "this source is not built yet", "use file:DIR or kube")
    raise Rejected(f"{flag} {source}", "is no known source", "use file:DIR, kube or kube:KUBECONFIG")
