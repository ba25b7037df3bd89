"""`tidegate cni`: the plugin in the node's CNI directories."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tidegate.cli.output import Format, OutputOption, structured
from tidegate.enroll.node_cni import NodeCni
from tidegate.settings import DEFAULT_CNI_BIN_DIR, DEFAULT_CNI_CONF_DIR, DEFAULT_RUN_DIR, build_root

ConfDir = Annotated[
    Path, typer.Option("--conf-dir", envvar="TIDEGATE_CNI_CONF_DIR", help="where the runtime reads configurations")
]
BinDir = Annotated[Path, typer.Option("--bin-dir", envvar="TIDEGATE_CNI_BIN_DIR", help="where it finds plugins")]
ConflistName = Annotated[
    str,
    typer.Option("--conflist", envvar="TIDEGATE_CNI_CONFLIST", help="file in --conf-dir; default: the first by name"),
]
RunDir = Annotated[Path, typer.Option("--run-dir", envvar="TIDEGATE_RUN_DIR", help="run directory of the agent")]

cni = typer.Typer(no_args_is_help=True, help="Install, remove or check the CNI plugin of this node.")


def register(app: typer.Typer) -> None:
    app.add_typer(cni, name="cni")


def _node(conf_dir: Path, bin_dir: Path, conflist: str, run_dir: Path) -> NodeCni:
    return NodeCni(conf_dir, bin_dir, run_dir / "cni.sock", build_root() / "cni" / "tidegate", conflist)


@cni.command("install")
def install(
    conf_dir: ConfDir = DEFAULT_CNI_CONF_DIR,
    bin_dir: BinDir = DEFAULT_CNI_BIN_DIR,
    conflist: ConflistName = "",
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> None:
    """Put the plugin into --bin-dir and chain it behind the plugins of the network. Again changes nothing."""
    for line in _node(conf_dir, bin_dir, conflist, run_dir).install() or ("everything is in place already",):
        print(line)


@cni.command("uninstall")
def uninstall(
    conf_dir: ConfDir = DEFAULT_CNI_CONF_DIR,
    bin_dir: BinDir = DEFAULT_CNI_BIN_DIR,
    run_dir: RunDir = DEFAULT_RUN_DIR,
) -> None:
    """Take our entry out of every configuration, then the plugin away. Stop the agent first: it puts them back."""
    for line in _node(conf_dir, bin_dir, "", run_dir).uninstall() or ("nothing of ours is there",):
        print(line)


@cni.command("status")
def status(
    conf_dir: ConfDir = DEFAULT_CNI_CONF_DIR,
    bin_dir: BinDir = DEFAULT_CNI_BIN_DIR,
    conflist: ConflistName = "",
    run_dir: RunDir = DEFAULT_RUN_DIR,
    output: OutputOption = Format.TABLE,
) -> None:
    """What is there, what is wrong, what to do. Exit 1 when not whole."""
    found = _node(conf_dir, bin_dir, conflist, run_dir).status()
    value = {
        "whole": found.whole,
        "binary": found.binary,
        "conflist": str(found.conflist or ""),
        "network": found.network,
        "chained": [str(file) for file in found.chained],
        "problems": list(found.problems),
    }
    if not structured(value, output):
        print(f"plugin    {bin_dir / 'tidegate'}: {'in place' if found.binary else 'not in place'}")
        print(f"network   {found.conflist or 'none in ' + str(conf_dir)} {found.network}".rstrip())
        print(f"chained   {', '.join(map(str, found.chained)) or 'nowhere'}")
        for problem in found.problems:
            print(f"problem   {problem}")
    raise typer.Exit(0 if found.whole else 1)
