"""`tidegate lab`: a small cluster on this machine, made of network namespaces and cgroups."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from tidegate.cli.client import LAB_RUN_DIR
from tidegate.cli.output import Format, OutputOption, structured, table
from tidegate.errors import Fatal, Rejected, TidegateError, Unreachable
from tidegate.model.names import cluster_domain, use_cluster_domain
from tidegate_lab import control, janitor, launch
from tidegate_lab.addresses import MAX_NODES
from tidegate_lab.paths import DEFAULT_LAB, LabPaths

lab = typer.Typer(no_args_is_help=True, help="A small cluster on this machine: nodes and pods without Kubernetes.")

LABD_SILENT = 10.0  # seconds without an answer to a simple question


class Switch(StrEnum):
    ON = "on"
    OFF = "off"


class Acceleration(StrEnum):
    AUTO = "auto"
    ON = "on"
    OFF = "off"


class CaptureMode(StrEnum):
    SOCKET = "socket"
    TC = "tc"


NameOption = Annotated[str, typer.Option("--name", envvar="TIDEGATE_LAB", help="which lab; several may run")]
FilesOption = Annotated[list[Path] | None, typer.Option("-f", "--filename", help="manifest file or directory")]
NeededFilesOption = Annotated[list[Path], typer.Option("-f", "--filename", help="manifest file or directory")]
NamespaceOption = Annotated[str, typer.Option("-n", "--namespace", help="namespace of the pod")]
ContainerOption = Annotated[str | None, typer.Option("-c", "--container", help="container; default: the first")]
TimeoutOption = Annotated[float, typer.Option(help="seconds to wait until everything is ready")]


def register(app: typer.Typer) -> None:
    """Add `lab` to the `tidegate` command (entry point of group tidegate.commands)."""
    app.add_typer(lab, name="lab")


def unattended(sockets: Sequence[Path]) -> list[str]:
    """Remarks for `tidegate status` on the labs whose agents answered on these sockets: those that nobody runs.

    Entry point of group tidegate.status_remarks.
    """
    labs = sorted({socket.parents[2].name for socket in sockets if socket.is_relative_to(LAB_RUN_DIR)})
    return [f"lab {name}: {control.UNATTENDED}" for name in labs if janitor.labd_pid(LabPaths.of(name)) is None]


@lab.command()
def up(
    filename: FilesOption = None,
    nodes: Annotated[int, typer.Option(min=1, max=MAX_NODES, help="how many nodes")] = 1,
    mesh: Annotated[Switch, typer.Option(help="off: the same lab without Tidegate, for comparison")] = Switch.ON,
    acceleration: Annotated[Acceleration, typer.Option(help="kernel acceleration")] = Acceleration.AUTO,
    capture: Annotated[CaptureMode, typer.Option(help="how connections are captured")] = CaptureMode.SOCKET,
    domain: Annotated[
        str,
        typer.Option(
            "--cluster-domain",
            envvar="TIDEGATE_CLUSTER_DOMAIN",
            help="what names of services end with; default: cluster.local",
        ),
    ] = "",
    name: NameOption = DEFAULT_LAB,
    timeout: TimeoutOption = 90.0,
) -> None:
    """Start the lab; returns when every pod is ready and the mesh is effective. On a running lab it is `apply`."""
    _need_root()
    if acceleration is Acceleration.ON:
        raise Fatal("--acceleration on", "the kernel tier is not built yet", "use auto, which leaves it out, or off")
    if capture is CaptureMode.TC:
        raise Fatal("--capture tc", "only socket hooks are built yet", "use --capture socket")
    use_cluster_domain(domain)
    paths = LabPaths.of(name)
    files = _files_of(filename or [])
    running = _info(paths)
    if running is None:
        if janitor.exists(paths):
            _progress("removing what an earlier lab left")
            janitor.clean(paths)
        _start(paths, nodes, mesh)
    elif (running["nodes"], running["mesh"], running["cluster_domain"]) != (nodes, mesh is Switch.ON, cluster_domain()):
        have = f"{running['nodes']} nodes, mesh {'on' if running['mesh'] else 'off'}, {running['cluster_domain']}"
        raise Rejected(f"lab {name}", f"is running with {have}", "tidegate lab down, or another --name")
    try:
        _apply(paths, files, timeout)
    except Rejected:
        if running is None:  # nobody asked for a lab without these manifests
            _progress(f"lab {name} is taken down again")
            _stop(paths)
        raise


@lab.command()
def apply(filename: NeededFilesOption, name: NameOption = DEFAULT_LAB, timeout: TimeoutOption = 90.0) -> None:
    """Create or replace objects; returns when they are in force on every node."""
    _apply(LabPaths.of(name), _files_of(filename), timeout)


@lab.command()
def delete(filename: NeededFilesOption, name: NameOption = DEFAULT_LAB, timeout: TimeoutOption = 90.0) -> None:
    """Remove the objects that the files name; returns when that is in force on every node."""
    files = _files_of(filename)
    for key in _call(LabPaths.of(name), "delete", files=[str(file) for file in files], timeout=timeout):
        print(f"{key} deleted")


@lab.command("exec", context_settings={"ignore_unknown_options": True})
def execute(
    pod: Annotated[str, typer.Argument(help="POD or deploy/NAME")],
    command: Annotated[list[str], typer.Argument(help="program and arguments, after --")],
    namespace: NamespaceOption = "default",
    container: ContainerOption = None,
    name: NameOption = DEFAULT_LAB,
) -> None:
    """Run a program in a pod. It becomes this process, so streams, signals and exit code are its own."""
    entry = _call(LabPaths.of(name), "enter", namespace=namespace, pod=pod, container=container)
    argv = launch.PodEntry(entry["pid"], Path(entry["cgroup"]), entry["cwd"]).argv(command)
    _become(argv, {**entry["env"], "TERM": os.environ.get("TERM", "dumb")})


@lab.command("node-exec", context_settings={"ignore_unknown_options": True})
def node_exec(
    node: Annotated[str, typer.Argument(help="node1, node2, ...")],
    command: Annotated[list[str], typer.Argument(help="program and arguments, after --")],
    name: NameOption = DEFAULT_LAB,
) -> None:
    """Run a program on a node, outside of any pod."""
    entry = _call(LabPaths.of(name), "node", node=node)
    argv = launch.in_cgroup(Path(entry["cgroup"]), launch.in_netns(Path(entry["netns"]), command))
    _become(argv, dict(os.environ))


@lab.command()
def pods(output: OutputOption = Format.TABLE, name: NameOption = DEFAULT_LAB) -> None:
    """List the pods."""
    found = _call(LabPaths.of(name), "pods")
    if not structured(found, output):
        columns = ("NAMESPACE", "NAME", "NODE", "IP", "PHASE", "READY", "RESTARTS", "ENROLLED", "REASON")
        keys = ("namespace", "name", "node", "ip", "phase", "ready", "restarts", "enrolled", "reason")
        table(columns, [[_cell(pod[key]) for key in keys] for pod in found])


@lab.command()
def services(output: OutputOption = Format.TABLE, name: NameOption = DEFAULT_LAB) -> None:
    """List the Services; EXTERNAL is where this machine reaches one of type LoadBalancer."""
    found = _call(LabPaths.of(name), "services")
    if not structured(found, output):
        columns = ("NAMESPACE", "NAME", "TYPE", "ADDRESSES", "EXTERNAL", "PORTS")
        keys = ("namespace", "name", "type", "addresses", "external", "ports")
        rows = [[", ".join(s[key]) if isinstance(s[key], list) else s[key] for key in keys] for s in found]
        table(columns, rows)


@lab.command()
def logs(
    pod: Annotated[str, typer.Argument(help="POD or deploy/NAME")],
    namespace: NamespaceOption = "default",
    container: ContainerOption = None,
    name: NameOption = DEFAULT_LAB,
) -> None:
    """Print what a container wrote to stdout and stderr, over all its restarts."""
    path = _call(LabPaths.of(name), "logs", namespace=namespace, pod=pod, container=container)
    with Path(path).open("rb") as log:
        while chunk := log.read(1 << 16):
            sys.stdout.buffer.write(chunk)


@lab.command()
def expose(
    service: Annotated[str, typer.Argument(help="svc/NAME")],
    port: Annotated[int, typer.Argument(min=1, max=65535, help="port of the Service")],
    namespace: NamespaceOption = "default",
    local: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="port on 127.0.0.1; default: any that is free")
    ] = 0,
    name: NameOption = DEFAULT_LAB,
) -> None:
    """Make a Service reachable on this machine's loopback until `lab down`; prints the address."""
    kind, slash, target = service.rpartition("/")
    if slash and kind not in ("svc", "service", "services"):
        raise Rejected(service, "is not a Service", "write svc/NAME")
    chosen = _call(LabPaths.of(name), "expose", namespace=namespace, service=target, port=port, local=local)
    print(f"http://127.0.0.1:{chosen}")


@lab.command()
def dashboard(
    node: Annotated[str, typer.Argument(help="node1, node2, ...")] = "node1",
    local: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="port on 127.0.0.1; default: any that is free")
    ] = 0,
    name: NameOption = DEFAULT_LAB,
) -> None:
    """Make a node's dashboard reachable on this machine's loopback until `lab down`; prints its address."""
    print(f"http://127.0.0.1:{_call(LabPaths.of(name), 'dashboard', node=node, local=local)}/")


@lab.command()
def down(name: NameOption = DEFAULT_LAB) -> None:
    """Stop the lab and leave nothing of it; also when labd was killed, and when there is no lab."""
    _need_root()
    paths = LabPaths.of(name)
    if _info(paths) is not None:
        _progress(f"stopping lab {name}")
    _stop(paths)


def _start(paths: LabPaths, nodes: int, mesh: Switch) -> None:
    """Start labd in the background and wait for its socket. Cleans up and raises Fatal when it cannot start."""
    paths.run.mkdir(parents=True, mode=0o700)
    _progress(f"starting lab {paths.name}: {nodes} node{'s' if nodes > 1 else ''}, mesh {mesh.value}")
    argv = [sys.executable, "-m", "tidegate_lab.daemon", "--name", paths.name]
    argv += ["--nodes", str(nodes), "--mesh", mesh.value, "--cluster-domain", cluster_domain()]
    with paths.log.open("ab") as log:
        labd = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    while not paths.socket.exists():
        if labd.poll() is not None:
            lines = paths.log.read_text(errors="replace").strip().splitlines()
            janitor.clean(paths)
            raise Fatal(f"lab {paths.name}", "could not be started", "labd said:\n" + "\n".join(lines[-20:]))
        time.sleep(0.02)


def _stop(paths: LabPaths) -> None:
    if _info(paths) is not None:
        _call(paths, "stop")
        _wait_gone(paths, 15.0)
    janitor.clean(paths)


def _apply(paths: LabPaths, files: list[Path], timeout: float) -> None:
    _call(paths, "apply", files=[str(file) for file in files], timeout=timeout)
    _progress("in force")


def _info(paths: LabPaths) -> Any:
    """None if labd is not there or, stopped or stuck, says nothing: then it is no more use than a killed one."""
    try:
        return control.call(paths.socket, {"do": "info"}, _progress, LABD_SILENT)
    except Unreachable:
        return None


def _wait_gone(paths: LabPaths, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while janitor.labd_pid(paths) is not None and time.monotonic() < deadline:
        time.sleep(0.02)


def _call(paths: LabPaths, do: str, **arguments: Any) -> Any:
    return control.call(paths.socket, {"do": do, **arguments}, _progress)


def _become(argv: list[str], env: dict[str, str]) -> None:
    sys.stdout.flush()
    os.execve(argv[0], argv, env)


def _files_of(paths: Sequence[Path]) -> list[Path]:
    """The manifests that these files and directories are. Only who applies some pays for what reads them."""
    from tidegate_lab import manifest

    return manifest.files_of(paths)


def _need_root() -> None:
    if os.geteuid() != 0:
        raise Fatal("tidegate lab", "makes network namespaces and cgroups", "run as root")


def _progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _cell(value: object) -> str:
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    try:
        lab()
    except TidegateError as error:
        print(f"tidegate: {error}", file=sys.stderr)
        sys.exit(3 if isinstance(error, Unreachable) else 4 if isinstance(error, Fatal) else 1)
