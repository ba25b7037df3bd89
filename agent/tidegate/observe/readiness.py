"""Whether this node can do its work, by named tokens.

Only what concerns the whole node is a token. A mistake in somebody's configuration, a resource that Envoy refuses or a
pod that cannot be captured shows in `tidegate status` and never here: one user must not stop a roll-out of the agent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

CONFIGURATION = "configuration in sync"  # all sources delivered, and the data plane has been through it once
HOOKS = "hooks attached"
RELAY = "relay up"
ENVOY = "envoy up"

CARRYING = frozenset({HOOKS, RELAY, ENVOY})  # without one of them connections of pods that are enrolled fail, too


class Readiness:
    """Tokens by name, each with a question that is cheap to ask."""

    def __init__(self, tokens: Mapping[str, Callable[[], bool]]) -> None:
        self._tokens = tokens

    def missing(self) -> list[str]:
        """Names of the tokens that this node does not have now; empty when it is ready."""
        return [name for name, holds in self._tokens.items() if not holds()]
