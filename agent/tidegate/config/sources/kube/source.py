"""A cluster's API server as one source of configuration.

Every kind has a follower. Nothing is told before everything is known of each kind: from the server, or, where that does
not answer, from what the last process wrote down. As long as some kinds are known from the disk only, what is new is
told and what is gone is not: a Service whose kind came back first must not lose endpoints whose kind comes back later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from tidegate.config.sources.base import Change, Delete, Findings, InSync, Upsert
from tidegate.config.sources.kube.access import AccessSource
from tidegate.config.sources.kube.decode import BrokenError, Reader, Told
from tidegate.config.sources.kube.follower import REFUSED, Follower, WatchState
from tidegate.config.sources.kube.installed import Installed
from tidegate.config.sources.kube.object_set import REFUSALS, ObjectSet
from tidegate.config.sources.kube.resources import RESOURCES, Resource, secret
from tidegate.config.sources.kube.saved import Saved, SavedObjects
from tidegate.config.sources.kube.secrets import wanted
from tidegate.config.sources.kube.server import ApiServer
from tidegate.model.mesh import Mesh, MeshObject
from tidegate.model.names import ObjectKey
from tidegate.runtime.clock import Clock
from tidegate.runtime.collector import paused
from tidegate.runtime.latest import Latest
from tidegate.runtime.worker import Worker

log = logging.getLogger(__name__)

_PATIENCE_S: Final = 5.0  # after which a server that is slow to tell everything counts as one that does not answer
_WRITE_S: Final = 1.0  # between two writings of what is new
_SEEN_S: Final = 30.0  # between two notes that all is still so
_STALE_S: Final = 120.0  # without a word of the server for so long the node is not well
_NAMERS: Final = frozenset({"Gateway", "DestinationRule"})  # kinds that name Secrets


class KubeSource:
    """Reads what the mesh is made of from an API server (resources.py)."""

    def __init__(
        self,
        name: str,
        access: AccessSource,
        clock: Clock,
        jitter: Callable[[], float],
        state: Path | None = None,
        gateways_in: frozenset[str] = frozenset(),
        config: Latest[Mesh | None] | None = None,
        agent: str = "",
        resources: Sequence[Resource] = RESOURCES,
    ) -> None:
        """name: what the user calls it. state: directory for what has to outlive the process; None: nothing does.
        gateways_in: namespaces of gateways that this process serves, whose Secrets it needs.
        config: what all sources together say: another one's Gateway may name a Secret of the cluster.
        agent: who asks, for the server's log."""
        self.name = name
        self._clock, self._jitter = clock, jitter
        self._server = ApiServer(access, clock, jitter, agent)
        self._saved = Saved(state) if state is not None else None
        self._disk = Worker("kube facts")
        self._gateways_in, self._config = gateways_in, config
        self._parts: dict[str, ObjectSet] = {}
        self._followers: dict[str, Follower] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failed: asyncio.Future[None] | None = None
        self._resources = resources
        self._installed = Installed(self._server, clock, jitter)
        self._news = asyncio.Event()
        self._told = False  # something was told at all
        self._withheld: dict[ObjectKey, None] = {}  # gone, and not told
        self._restored: set[str] = set()
        self._closing: list[Findings] = []  # of what nobody follows any more
        self._missing: frozenset[str] = frozenset()
        self._away = False

    async def watch(self) -> AsyncIterator[Sequence[Change]]:
        """Tell the cluster's content once all of it is known, then whatever changes. Never ends by itself."""
        self._failed = asyncio.get_running_loop().create_future()
        for resource in self._resources:
            self._follow(resource)
        self._start("impatience", self._be_patient())
        self._start("installed", self._installed.run(self._missing_ones, self._appeared))
        self._start("disk", self._write_down())
        if self._config is not None:
            self._start("secrets", self._heed(self._config))
        try:
            while True:
                await self._wait()
                if changes := self._changes():
                    yield changes
        finally:
            tasks = list(self._tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._server.close()
            self._disk.close()

    def status(self) -> dict[str, Any]:
        """For people: how old what is known is, in seconds, and how it is with each kind that the cluster has."""
        ages = [age for part in self._parts.values() if (age := self._age(part)) is not None]
        return {
            "source": self.name,
            "server": self._server.address,
            "in_sync": self._told,
            "age_seconds": round(max(ages, default=0.0), 1),
            "away": self._server.gate.reason,
            "attempts": self._server.gate.attempts,
            "not_installed": sorted(self._missing),
            "kinds": [
                {
                    "resource": name,
                    "objects": len(part.documents),
                    "state": self._followers[name].state if name in self._followers else WatchState.STARTING,
                    "age_seconds": None if (age := self._age(part)) is None else round(age, 1),
                    "reason": self._followers[name].reason if name in self._followers else "",
                    "from_disk": part.saved_at is not None,
                }
                for name, part in sorted(self._parts.items())
                if name not in self._missing
            ],
        }

    def unhealthy(self) -> list[str]:
        """Why the node is not well because of this source."""
        reasons = [
            f"{self.name}: {one.resource.name}: {one.reason}"
            for one in self._followers.values()
            if one.state in REFUSED and one.refusals >= REFUSALS
        ]
        if away := self._server.gate.reason:
            age = max((a for p in self._parts.values() if (a := self._age(p)) is not None), default=0.0)
            if age > _STALE_S or not self._told:
                known = f"what is known is {age:.0f} s old" if self._told else "nothing is known"
                reasons.insert(0, f"{self.name}: the API server does not answer ({away}), {known}")
        return reasons

    # Following

    def _follow(self, resource: Resource) -> None:
        part = ObjectSet(resource, self._news.set, writing=self._saved is not None)
        follower = Follower(resource, self._server, part, self._clock, self._jitter)
        part.standing = follower
        self._parts[resource.name], self._followers[resource.name] = part, follower
        self._start(resource.name, follower.run())

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"{self.name} {name}")
        task.add_done_callback(self._ended)
        self._tasks[name] = task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """What fails ends all: whoever watches has to know."""
        if self._tasks.get(name := task.get_name().removeprefix(f"{self.name} ")) is task:
            del self._tasks[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            if self._failed is not None and not self._failed.done():
                self._failed.set_exception(error)
            self._news.set()

    async def _wait(self) -> None:
        await self._news.wait()
        self._news.clear()
        if self._failed is not None and self._failed.done():
            self._failed.result()

    # Telling

    def _changes(self) -> Sequence[Change]:
        """What there is to tell now; empty if it is too early, or nothing."""
        self._see_what_is_missing()
        self._see_who_is_away()
        if not self._told:
            if any(one.state in (WatchState.AWAY, *REFUSED) for one in self._followers.values()):
                self._restore()
            if not all(self._is_enough(part) for part in self._parts.values()):
                return ()
            self._want_secrets()
            if not all(self._is_enough(part) for part in self._parts.values()):
                return ()
            known = sum(len(part.documents) for part in self._parts.values())
            lacks = f", and waits for {', '.join(sorted(self._missing))}" if self._missing else ""
            log.info("%s: knows %d objects%s", self.name, known, lacks)
        with paused():
            changes = list(self._news_of_parts())
        if not self._told or changes:
            self._told = True
            return (*changes, InSync())
        return ()

    def _is_enough(self, part: ObjectSet) -> bool:
        """Whether what is known of a kind is enough to begin. Without a Secret only its own users are."""
        standing = part.standing
        refused = standing is not None and standing.state in REFUSED
        return part.known or (part.resource.kind == "Secret" and refused)

    def _news_of_parts(self) -> Iterator[Change]:
        settled = all(part.settled for part in self._parts.values() if part.resource.kind != "Secret")
        named_anew = False
        for part in list(self._parts.values()):
            for key, document in part.take():
                named_anew |= part.resource.kind in _NAMERS
                if document is not None:
                    self._withheld.pop(key, None)
                    yield Upsert(document)
                elif settled:
                    yield Delete(key)
                else:
                    self._withheld[key] = None
            if (found := part.findings()) is not None:
                yield found
        yield from self._closing
        self._closing = []
        if settled and self._withheld:
            yield from (Delete(key) for key in self._withheld)
            self._withheld = {}
        if named_anew:
            self._want_secrets()

    def _see_what_is_missing(self) -> None:
        self._missing = frozenset(name for name, one in self._followers.items() if one.state is WatchState.MISSING)
        if self._missing:
            self._installed.wake()

    def _see_who_is_away(self) -> None:
        away = bool(self._server.gate.reason)
        if away and not self._away:
            log.warning("%s: the API server does not answer: %s", self.name, self._server.gate.reason)
        elif self._away and not away:
            log.info("%s: the API server answers again", self.name)
        self._away = away

    def _missing_ones(self) -> Sequence[Resource]:
        return [self._followers[name].resource for name in self._missing]

    def _appeared(self, resource: Resource) -> None:
        log.info("%s: the cluster has %s now", self.name, resource.name)
        self._followers[resource.name].appeared()

    # Secrets

    def _want_secrets(self) -> None:
        values: list[MeshObject] = [
            document.value
            for part in self._parts.values()
            if part.resource.kind in _NAMERS
            for document in part.documents.values()
            if document.value is not None
        ]
        mesh = self._config.value if self._config is not None else None
        if mesh is not None:  # with what serves in place of broken documents, and what other sources say
            values += (*mesh.gateways, *mesh.destination_rules)
        resources = {one.name: one for pair in wanted(values, self._gateways_in) if (one := secret(*pair))}
        followed = {name for name, part in self._parts.items() if part.resource.kind == "Secret"}
        for name in followed - resources.keys():
            self._tasks[name].cancel()
            del self._followers[name]
            part = self._parts.pop(name)
            self._withheld.update(dict.fromkeys(part.documents))
            self._closing += part.last_words()
            self._forget(name)
            self._news.set()
        for name in sorted(resources.keys() - followed):
            self._follow(resources[name])

    async def _heed(self, config: Latest[Mesh | None]) -> None:
        """Follow what any source's Gateways and rules name."""
        version, seen = 0, None
        while True:
            version, mesh = await config.newer(version)
            if mesh is not None and (named := (mesh.gateways, mesh.destination_rules)) != seen:
                seen = named
                self._want_secrets()

    # The disk

    async def _be_patient(self) -> None:
        await self._clock.sleep(_PATIENCE_S)
        if not self._told:
            self._restore()

    def _restore(self) -> None:
        """Have what is not known read from the disk."""
        for name, part in self._parts.items():
            if self._saved is not None and not part.known and name not in self._restored:
                self._restored.add(name)
                self._start(f"{name} from disk", self._read(part, self._saved))

    async def _read(self, part: ObjectSet, saved: Saved) -> None:
        facts = await self._disk.do(saved.load, part.resource.name, self._server.address)
        if facts is not None:
            told = await asyncio.to_thread(_told, part.resource, facts)
            part.restore(told, facts.seen)

    async def _write_down(self) -> None:
        if self._saved is None:
            return
        seen_at = self._clock.monotonic()
        while True:
            await self._clock.sleep(_WRITE_S)
            await self._write(self._saved)
            now = self._clock.monotonic()
            everything = all(self._age(part) == 0.0 for part in self._parts.values())
            if everything and now - seen_at >= _SEEN_S:
                seen_at = now
                await self._disk.do(self._saved.seen)

    async def _write(self, saved: Saved) -> None:
        for name, part in list(self._parts.items()):
            kept, changes = part.kept, part.changes
            part.kept, part.changes = None, []
            if kept is not None:
                written = await self._disk.do(saved.replace, name, self._server.address, kept)
                if not written and part.kept is None:  # as soon as there is room
                    part.kept = {**kept, **dict(part.changes)}
                    part.kept, part.changes = {key: value for key, value in part.kept.items() if value}, []
            elif changes:
                await self._disk.do(saved.change, name, changes)

    def _forget(self, name: str) -> None:
        if self._saved is not None:
            self._start(f"{name} forgotten", self._disk.do(self._saved.forget, name))

    def _age(self, part: ObjectSet) -> float | None:
        """Seconds since what is known of a kind was known to be so; None: nothing is known of it."""
        if part.saved_at is not None:
            return max(0.0, self._clock.now() - part.saved_at)
        follower = self._followers.get(part.resource.name)
        if not part.fresh or follower is None:
            return None
        if follower.state in (WatchState.CURRENT, WatchState.MISSING):
            return 0.0
        return max(0.0, self._clock.monotonic() - follower.left_at)


def _told(resource: Resource, facts: SavedObjects) -> list[Told]:
    reader = Reader(resource)
    told = []
    with paused():
        for line in facts.objects:
            try:
                told.append(reader.read(line))
            except BrokenError as error:
                log.warning("what was known of %s: %s", resource.name, error)
    return told
