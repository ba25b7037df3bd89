"""`tidegate compile`: what the data plane would get for these files. Needs no root and no agent."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tidegate.cli.domain import ClusterDomainOption
from tidegate.cli.output import Format, OutputOption, structured, table
from tidegate.compile.authorization.in_force import Policies
from tidegate.compile.authorization.protojson import authorization
from tidegate.compile.compiler import compile_plan
from tidegate.compile.facts import Facts, join
from tidegate.compile.gateway.compiler import compile_gateway
from tidegate.errors import Rejected
from tidegate.model.authorization import Authorization
from tidegate.model.gateway import GatewayWorkload
from tidegate.model.names import ROOT_NAMESPACE, WorkloadId
from tidegate.model.plan import Plan
from tidegate.model.plan.envoy import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, SCOPES, SECRETS
from tidegate.model.workload import Capture, Sandbox
from tidegate.observe.dump import resource

_KINDS = (LISTENERS, SCOPES, ROUTES, CLUSTERS, ENDPOINTS, SECRETS)
# Ports that a pod's listeners might get; the agent lets the kernel choose.
_CAPTURE = Capture(fastpath4=15001, envoy4=15002)


def register(app: typer.Typer) -> None:
    app.command("compile")(compile_files)


def compile_files(
    file: Annotated[
        list[Path] | None, typer.Option("-f", "--file", help="file or directory, repeatable", exists=True)
    ] = None,
    pod: Annotated[str, typer.Option(help="NAMESPACE/NAME: only what this pod's node needs for it")] = "",
    gateway: Annotated[str, typer.Option(help="labels of a gateway: what it needs instead", metavar="K=V[,K=V]")] = "",
    namespace: Annotated[str, typer.Option(help="namespace of that gateway")] = ROOT_NAMESPACE,
    cluster_domain: ClusterDomainOption = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Show Envoy's resources and the fast path's services that these files compile to.

    Pods of Deployments and addresses that a cluster would give out are made up for it.
    """
    # Documents need pydantic, a third of the time that any command would take to start.
    from tidegate.config.sources.files import load_paths
    from tidegate.config.stand_ins import with_stand_ins
    from tidegate.config.store import load_once

    if not file:
        raise typer.BadParameter("name at least one file or directory", param_hint="-f")
    config = load_once(load_paths(file))
    for problem in config.problems:
        print(problem, file=sys.stderr)
    complete = with_stand_ins(config)
    facts = join(complete, ())
    if gateway:
        _show_gateway(facts, gateway, namespace, output)
        raise typer.Exit(1 if any(p.is_error for p in config.problems) else 0)
    sandboxes = _sandboxes(facts, pod)
    node = facts.pods[sandboxes[0].id].node if pod else ""  # without a pod it is about every node
    snapshot = compile_plan(join(complete, sandboxes, node=node), generation=1)
    policies = snapshot.policies.policies if pod else Policies(complete).all()
    if not structured(as_json(snapshot, policies), output):
        _print_tables(snapshot)
    raise typer.Exit(1 if any(p.is_error for p in config.problems) else 0)


def _show_gateway(facts: Facts, labels: str, namespace: str, output: Format) -> None:
    pairs = [pair.partition("=") for pair in labels.split(",")]
    if not all(key and equals for key, equals, _ in pairs):
        raise typer.BadParameter(f"{labels!r} is not K=V[,K=V]", param_hint="--gateway")
    plan = compile_gateway(facts, GatewayWorkload(namespace, {key: value for key, _, value in pairs}))
    for left in plan.left_out:
        print(f"{left.served.gateway.origin}: port {left.served.server.port} left out: {left.why}", file=sys.stderr)
    out = {kind: [resource(kind, r) for r in plan.envoy.get(kind, {}).values()] for kind in _KINDS}
    if not structured(out, output):
        table(("KIND", "NAME"), [(kind, name) for kind in _KINDS for name in plan.envoy.get(kind, {})])


def as_json(snapshot: Plan, policies: Sequence[Authorization] = ()) -> dict[str, Any]:
    """Envoy's resources in proto-JSON, and what the kernel and the fast path get as `l4`. policies: of which the
    workload API's messages are shown."""
    out: dict[str, Any] = {
        kind: [resource(kind, r) for r in snapshot.envoy.get(kind, {}).values() if r.judged is None] for kind in _KINDS
    }
    out["l4"] = {
        "destinations": [
            {
                "address": str(d.address),
                "port": d.port,
                "tier": d.tier.name.lower(),
                "service": snapshot.services.get(d.service, ""),
            }
            for d in snapshot.destinations
        ],
        "services": [
            {
                "name": s.name,
                "addresses": [{"address": str(a), "port": p} for a, p in s.addresses],
                "balancing": s.balancing.name,
                "endpoints": [{"address": str(e.address), "port": e.port, "weight": e.weight} for e in s.endpoints],
            }
            for s in snapshot.l4
        ],
        "policies": [message for one in policies if (message := authorization(one)) is not None],
        "workloads": _workloads(snapshot),
    }
    return out


def _workloads(snapshot: Plan) -> list[dict[str, Any]]:
    """Which policies are asked about connections to which pod, in their order; AUDIT is among them."""
    table = snapshot.policies
    of = ((pod.id, table.workloads.get(pod.netns_cookie, ())) for pod in snapshot.pods)
    return [{"pod": str(pod), "policies": [table.policies[n - 1].key for n in numbers]} for pod, numbers in of]


def _sandboxes(facts: Facts, only: str) -> tuple[Sandbox, ...]:
    chosen = [p for p in facts.pods if facts.enrolment(p).enrolled]
    if only:
        wanted = WorkloadId.parse(only)
        if wanted not in facts.pods:
            near = sorted(str(p) for p in facts.pods if p.name.startswith(wanted.name))
            raise Rejected(f"pod {wanted}", "is not in these files", f"known: {', '.join(near)}" if near else "")
        enrolled, reason = facts.enrolment(wanted)
        if not enrolled:
            raise Rejected(f"pod {wanted}", f"is not in the mesh: {reason}")
        chosen = [wanted]
    return tuple(
        Sandbox(pod, "compile", "", number, facts.pods[pod].ips, _CAPTURE)
        for number, pod in enumerate(sorted(chosen), 1)
    )


def _print_tables(snapshot: Plan) -> None:
    table(
        ("ADDRESS", "PORT", "TIER", "SERVICE"),
        [
            (d.address, d.port or "any", d.tier.name.lower(), snapshot.services.get(d.service, "-"))
            for d in snapshot.destinations
        ],
    )
    print()
    table(("KIND", "NAME"), [(k, n) for k in _KINDS for n, r in snapshot.envoy.get(k, {}).items() if r.judged is None])
