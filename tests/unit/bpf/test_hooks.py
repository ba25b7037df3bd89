"""Where hooks go: once per socket, wherever agent and Envoy live."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidegate.bpf.hooks import HOOKS, Hook, Scope, places

ROOT = Path("/cg")
SOCKOPS = next(hook for hook in HOOKS if hook.scope is Scope.BOTH_ENDS)


@pytest.mark.parametrize(
    ("pods", "agent", "envoy", "expect"),
    [
        ("node", "node/agent", "node/agent/envoy", {"tg_sockops": "node"}),
        ("node", "node", "node/envoy", {"tg_sockops": "node"}),
        ("", "", "envoy", {"tg_sockops": ""}),
        ("pods", "system/agent", "system/agent/envoy", {"tg_sockops": "pods", "tg_sockops_agent": "system/agent"}),
        ("pods", "a", "e", {"tg_sockops": "pods", "tg_sockops_agent": "a", "tg_sockops_envoy": "e"}),
        ("pods", "", "envoy", {"tg_sockops_agent": ""}),
        ("pods", "same", "same", {"tg_sockops": "pods", "tg_sockops_agent": "same"}),
        ("node1", "node10", "node10/envoy", {"tg_sockops": "node1", "tg_sockops_agent": "node10"}),
    ],
)
def test_records_see_both_ends_once(pods: str, agent: str, envoy: str, expect: dict[str, str]) -> None:
    found = places(SOCKOPS, ROOT / pods, ROOT / agent, ROOT / envoy)
    assert found == {name: ROOT / path for name, path in expect.items()}


@pytest.mark.parametrize(
    ("agent", "envoy", "expect"),
    [
        ("a", "e", {"tg_listen_agent": "a", "tg_listen_envoy": "e"}),
        ("a", "a/e", {"tg_listen_agent": "a"}),
        ("a", "a", {"tg_listen_agent": "a"}),
    ],
)
def test_listeners_are_seen_where_they_are_ours_and_nowhere_else(
    agent: str, envoy: str, expect: dict[str, str]
) -> None:
    (hook,) = (hook for hook in HOOKS if hook.scope is Scope.LISTENERS)
    found = places(hook, ROOT, ROOT / agent, ROOT / envoy)
    assert found == {name: ROOT / path for name, path in expect.items()}


ONE_PLACE = [hook for hook in HOOKS if hook.scope in (Scope.PODS, Scope.ENVOY)]


@pytest.mark.parametrize("hook", ONE_PLACE, ids=lambda h: h.program)
def test_other_hooks_have_one_place(hook: Hook) -> None:
    where = {Scope.PODS: "pods", Scope.ENVOY: "envoy"}[hook.scope]
    assert places(hook, ROOT / "pods", ROOT / "agent", ROOT / "envoy") == {hook.program: ROOT / where}


def test_redirection_is_attached_last() -> None:
    order = [hook.file for hook in HOOKS]
    assert order.index("connect") > max(i for i, file in enumerate(order) if file != "connect")
