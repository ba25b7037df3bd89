"""`tidegate status` and `tidegate metrics`: is this node well, and if not, why."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Any

import typer

from tidegate.cli.client import ask, ask_text
from tidegate.cli.gateway import print_status
from tidegate.cli.output import Format, OutputOption, structured, table

RunDirOption = Annotated[Path | None, typer.Option("--run-dir", help="ask the agent of this run directory only")]


def register(app: typer.Typer) -> None:
    app.command("status")(status)
    app.command("metrics")(metrics)


def status(output: OutputOption = Format.TABLE, run_dir: RunDirOption = None) -> None:
    """Agent, Envoy, sources, generation of each applier, enrolment of each pod. Exit 1 when unhealthy."""
    answers = ask("status", run_dir=run_dir)
    for plugged in entry_points(group="tidegate.status_remarks"):
        for remark in plugged.load()([answer.socket for answer in answers]):
            print(f"tidegate: {remark}", file=sys.stderr)
    nodes = [answer.value for answer in answers]
    healthy = all(node["healthy"] for node in nodes)
    if not structured({"healthy": healthy, "nodes": nodes}, output):
        for node in nodes:
            _print(node)
    raise typer.Exit(0 if healthy else 1)


def metrics(run_dir: RunDirOption = None) -> None:
    """The Prometheus text that /metrics serves."""
    for text in ask_text("metrics", run_dir):
        print(text, end="")


def _print_program(name: str, program: dict[str, Any]) -> None:
    print(
        f"  {name}   {program['state']}, pid {program['pid']}, restarts {program['restarts']}"
        + (f", last exit {program['last_exit']}" if program["last_exit"] else "")
        + (f", {program['retired']} before it still finish" if program["retired"] else "")
        + (f", at most {program['memory_max'] >> 20} MiB" if program.get("memory_max") else "")
        + f", holds {', '.join(program['capabilities']) or 'no capability'}"
    )


def _print(node: dict[str, Any]) -> None:
    agent = node["agent"]
    verdict = "healthy" if node["healthy"] else "UNHEALTHY: " + "; ".join(node["unhealthy"])
    print(f"{node['node']}: {verdict}")
    before = f", start {agent['starts']} here, the one before {agent['previous']}" if "starts" in agent else ""
    print(f"  agent   pid {agent['pid']}{before}")
    for name, why in agent.get("capabilities", {}).items():
        print(f"    {name}: {why}")
    if "gateways" in node:
        print_status(node)
        if node.get("certificates"):
            _print_certificates(node["certificates"])
        return
    if "authority" in node:
        _print_authority(node["authority"])
        return
    if "kernel" not in node:
        _print_config(node)
        _print_others(node["others"])
        return
    kernel = node["kernel"]
    print(
        f"  kernel  {'adopted from the agent before' if kernel['adopted'] else 'loaded'}, {kernel['pods']} pods, "
        f"{kernel['destinations']} destinations, {kernel['flows']} captured connections"
    )
    for name in ("relay", "envoy"):
        _print_program(name, node[name])
    if node.get("dns"):
        _print_program("dns", node["dns"])
    if node.get("certificates"):
        _print_certificates(node["certificates"])
    cni = node.get("cni")
    if cni:
        print(f"  cni     {cni['problem'] or 'chained in ' + cni['conflist']}, repaired {cni['repairs']} times")
    if node.get("others"):
        _print_others(node["others"])
    _print_config(node)
    for name, applier in node["appliers"].items():
        for word in ("failures", "pending"):
            for outcome in applier[word]:
                origins = f" (from {', '.join(outcome['origins'])})" if outcome["origins"] else ""
                waits = "waits: " if word == "pending" else ""
                print(f"  {name}: {outcome['item']}: {waits}{outcome['reason']}{origins}")
    for missed in node.get("uncaptured", ()):
        print(f"  uncaptured: pod {missed['namespace']}/{missed['name']}: {missed['reason']}")
    for loop in node.get("crash_loops", ()):
        print(f"  crash loop: pod {loop['namespace']}/{loop['name']}: {loop['reason']}")
    if node["pods"]:
        table(
            ("  NAMESPACE", "POD", "STATE", "WHY", "IPS"),
            [("  " + p["namespace"], p["name"], p["state"], p["reason"], ", ".join(p["ips"])) for p in node["pods"]],
        )


def _print_authority(authority: dict[str, Any]) -> None:
    """Of `tidegate ca`."""
    answers = ", ".join(f"{count} {outcome}" for outcome, count in authority["answers"].items()) or "nothing yet"
    print(f"  signs   as {authority['name']}, until {authority['expires']}; roots {', '.join(authority['roots'])}")
    print(f"  answers {answers}")


def _print_certificates(certificates: dict[str, Any]) -> None:
    """Who signs for workloads, and what is not as it should be."""
    away = certificates["away_seconds"]
    counts = ", ".join(f"{count} {state}" for state, count in certificates["states"].items() if count) or "none"
    print(
        f"  certs   {counts}, by {certificates['authority']}"
        + (f", which has answered nothing for {away:.0f} s" if away else "")
        + (f", first to expire {certificates['first_expiry']}" if certificates["first_expiry"] else "")
    )
    for trouble in certificates["troubles"]:
        print(f"    {trouble}")


def _print_config(node: dict[str, Any]) -> None:
    config = node["config"]
    print(
        f"  config  revision {node['applied']['revision']}, generation {node['applied']['generation']}, "
        f"{len(config['problems'])} problems"
    )
    for problem in config["problems"]:
        place = f"{problem['file']}:{problem['line']}: " if problem["file"] else ""
        of = f"{problem['namespace']}/{problem['name']}" if problem["namespace"] else problem["name"]
        subject = " ".join(part for part in (problem["severity"], problem["kind"], of, problem["path"]) if part)
        print(f"    {place}{subject}: {problem['message']}")
    for cluster in node.get("clusters", ()):
        _print_cluster(cluster)


def _print_cluster(cluster: dict[str, Any]) -> None:
    """An API server, how old what it told is, and which kinds are not as they should be."""
    state = f"away: {cluster['away']}" if cluster["away"] else "in sync" if cluster["in_sync"] else "not in sync"
    count = sum(kind["objects"] for kind in cluster["kinds"])
    age = f"known as of {cluster['age_seconds']:.0f} s ago" if cluster["age_seconds"] >= 1 else "up to date"
    where = f" at {cluster['server']}" if cluster["server"] else ""
    print(f"  {cluster['source']}    {state}{where}, {count} objects, {age}")
    for kind in cluster["kinds"]:
        if kind["state"] not in ("current", "away") or kind["from_disk"]:
            disk = " (from disk)" if kind["from_disk"] else ""
            print(f"    {kind['resource']}: {kind['state']}{disk}" + (f": {kind['reason']}" if kind["reason"] else ""))
    if cluster["not_installed"]:
        print(f"    not installed: {', '.join(cluster['not_installed'])}")


def _print_others(others: dict[str, Any]) -> None:
    """Envoys and gRPC clients that are not ours."""
    clients = ", ".join(f"{count} {flavour}" for flavour, count in others["clients"].items()) or "no clients"
    print(
        f"  others  on {', '.join(others['listening'])}: {clients}, {others['synced']} of them in sync, "
        f"generation {others['generation']}, {others['refusals']} refusals"
    )
    for one in others["refused"]:
        origins = f" (from {', '.join(one['origins'])})" if one["origins"] else ""
        print(f"    {one['client']} refuses {one['kind']} {one['name']}: {one['detail']}{origins}")
    for left in others["left_out"]:
        print(f"    left out: {left['item']}: {left['reason']} (from {', '.join(left['origins'])})")
