"""Sources by what users call them: file:DIR, kube, kube:KUBECONFIG."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from tidegate.config.sources.base import ConfigSource
from tidegate.config.sources.files import FileSource
from tidegate.model.mesh import Mesh
from tidegate.runtime.clock import SystemClock
from tidegate.runtime.latest import Latest


class RemoteSource(Protocol):
    """A source that is far away, and can say how it is with it."""

    def status(self) -> dict[str, Any]: ...

    def unhealthy(self) -> list[str]: ...


class ConfigSources:
    """All sources of a process in the order in which they were named: of two that have an object the later speaks."""

    def __init__(
        self,
        names: Sequence[str],
        state: Path,
        config: Latest[Mesh | None],
        agent: str = "",
        gateways_in: frozenset[str] = frozenset(),
    ) -> None:
        """names: as settings.check_source takes them. state: directory for what has to outlive the process.
        config: what they say together. agent: who asks. gateways_in: namespaces of gateways that are served here.
        Raises Rejected."""
        self._state, self._config, self._agent, self._gateways_in = state, config, agent, gateways_in
        self.names = tuple(names)
        self._remote: list[RemoteSource] = []
        self.all: list[ConfigSource] = [self._open(name, number) for number, name in enumerate(self.names)]

    def status(self) -> list[dict[str, Any]]:
        """How it is with those that are far away."""
        return [one.status() for one in self._remote]

    def unhealthy(self) -> list[str]:
        """Why the process is not well because of one; empty when it is."""
        return [reason for one in self._remote for reason in one.unhealthy()]

    def _open(self, name: str, number: int) -> ConfigSource:
        scheme, _, rest = name.partition(":")
        if scheme == "file":
            return FileSource(Path(rest))
        # Needs libraries that take time to load, so only who has such a source waits for it.
        from tidegate.config.sources.kube.access import in_cluster, kubeconfig
        from tidegate.config.sources.kube.source import KubeSource

        source = KubeSource(
            name,
            kubeconfig(Path(rest)) if rest else in_cluster(),
            SystemClock(),
            random.random,
            self._state / f"kube-{number}",
            self._gateways_in,
            self._config,
            self._agent,
        )
        self._remote.append(source)
        return source
