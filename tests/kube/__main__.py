"""A real Kubernetes on this machine, to look around in: two nodes, without Tidegate unless you deploy it.

`build` builds the programs (once, a quarter of an hour). `up` starts a cluster and returns when its nodes are ready; it
stays until `down`. `kubectl ...` asks it; `env` prints what a shell needs for its own kubectl: `eval "$(... env)"`.
`node NAME COMMAND...` runs a command on a node, as root on that machine; `logs` says where programs write.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.kube import cluster as clusters
from tests.kube.building import cache_home, programs
from tests.kube.cluster import Cluster
from tests.kube.golang import BuildError

DEFAULT = "kube"


def say(line: str) -> None:
    print(f"kube: {line}", file=sys.stderr, flush=True)


def build(args: argparse.Namespace) -> int:
    """The programs."""
    made = programs(say)
    print(made.kubernetes, made.containerd, sep="\n")
    return 0


def up(args: argparse.Namespace) -> int:
    """A cluster."""
    found = programs(say)
    begin = time.monotonic()
    made = Cluster(args.name, args.nodes, found)
    made.up()
    for archive in args.image:
        made.load_image(archive)
    say(f"cluster {args.name} is up after {time.monotonic() - begin:.1f} s: {len(made.nodes)} nodes are ready")
    own = f" --name {args.name}" if args.name != DEFAULT else ""
    print(made.kubectl("get", "nodes", "-o", "wide").stdout, end="")
    print(f"\n  python -m tests.kube kubectl{own} get pods -A\n  python -m tests.kube down{own}")
    return 0


def down(args: argparse.Namespace) -> int:
    """Remove it; also what is left of one that was killed."""
    clusters.remove(args.name)
    clusters.sweep()
    return 0


def kubectl(args: argparse.Namespace) -> int:
    """Become kubectl."""
    _become(Cluster.attach(args.name).environment(args.user), "kubectl", *args.words)
    return 0


def env(args: argparse.Namespace) -> int:
    """For a shell."""
    found = Cluster.attach(args.name)
    print(f"export KUBECONFIG={found.kubeconfig(args.user)}\nexport PATH={found.programs.kubernetes}:$PATH")
    return 0


def node(args: argparse.Namespace) -> int:
    """Become a command on a node."""
    found = Cluster.attach(args.name).node(args.node)
    command = found.room.command(*(args.words or ["bash"]))
    _become(dict(os.environ), *command)
    return 0


def logs(args: argparse.Namespace) -> int:
    """Where they are."""
    for path in sorted(Cluster.attach(args.name).logs.rglob("*.log")):
        print(path)
    return 0


def listed(args: argparse.Namespace) -> int:
    """Names."""
    print("\n".join(clusters.running()))
    return 0


def clean(args: argparse.Namespace) -> int:
    """Remove what was built, of all versions."""
    shutil.rmtree(cache_home(), ignore_errors=True)
    return 0


def _become(environment: dict[str, str], *command: str) -> None:
    program = shutil.which(command[0], path=environment["PATH"])
    assert program is not None, f"no {command[0]}"
    sys.stdout.flush()
    os.execve(program, command, environment)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.kube", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")

    def verb(name: str, run: Callable[[argparse.Namespace], int], *, named: bool = True) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=run.__doc__)
        made.set_defaults(run=run)
        if named:
            made.add_argument("--name", default=DEFAULT, help="which cluster; several may run (default: %(default)s)")
        return made

    verb("build", build, named=False)
    starting = verb("up", up)
    starting.add_argument("--nodes", type=int, default=2, help=f"at most {clusters.MAX_NODES} (default: %(default)s)")
    starting.add_argument("--image", action="append", default=[], type=Path, help="archive that nodes take up")
    verb("down", down)
    for name, run in (("kubectl", kubectl), ("env", env)):
        made = verb(name, run)
        made.add_argument("--user", default="admin", help="a user of tests/kube/pki.py (default: %(default)s)")
        if name == "kubectl":
            made.add_argument("words", nargs=argparse.REMAINDER)
    on_node = verb("node", node)
    on_node.add_argument("node", metavar="NODE")
    on_node.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND", help="default: a shell")
    verb("logs", logs)
    verb("list", listed, named=False)
    verb("clean", clean, named=False)
    args = parser.parse_args()
    try:
        return int(args.run(args))
    except (BuildError, LookupError, AssertionError, RuntimeError) as error:
        print(f"kube: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
