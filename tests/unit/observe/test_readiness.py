from __future__ import annotations

from tidegate.observe.readiness import CONFIGURATION, ENVOY, HOOKS, RELAY, Readiness


def test_a_node_with_all_tokens_is_ready() -> None:
    assert Readiness({"a": lambda: True, "b": lambda: True}).missing() == []


def test_what_is_missing_is_named_and_asked_for_each_time() -> None:
    up = {"relay": False}
    readiness = Readiness({HOOKS: lambda: True, RELAY: lambda: up["relay"], ENVOY: lambda: False})
    assert readiness.missing() == [RELAY, ENVOY]
    up["relay"] = True
    assert readiness.missing() == [ENVOY]


def test_the_tokens_have_names_that_people_read() -> None:
    assert (CONFIGURATION, HOOKS, RELAY, ENVOY) == (
        "configuration in sync",
        "hooks attached",
        "relay up",
        "envoy up",
    )
