"""One kind, followed: listed or streamed once, then watched, for as long as the process lives.

What ends a watch decides how it goes on: the server's time limit or a lost connection, from where it was; 410 and what
cannot be read, with everything anew; 401, as who we are by then; 403, 429 and errors, later; 404, when the cluster has
the kind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final, Protocol

from tidegate.config.sources.kube.decode import BrokenError, Reader, Told, bookmark
from tidegate.config.sources.kube.gate import AwayError
from tidegate.config.sources.kube.resources import Resource
from tidegate.config.sources.kube.server import ApiServer, ResponseBody
from tidegate.config.sources.kube.stream import Lines, RefusedError, event, page
from tidegate.model.names import ObjectKey
from tidegate.runtime.backoff import Backoff
from tidegate.runtime.clock import Clock

WATCH_S: Final = 300.0  # a watch is asked for this long, and up to twice as long: so that not all end together
OVERDUE_S: Final = 30.0  # after that time a watch that did not end is one that nobody serves any more
SILENCE_S: Final = 30.0  # without a word a server that should stream a list is taken for one that does not know how
GONE_S: Final = 30.0  # a kind that was there is believed to be gone after so long: a server that starts has none yet
LOOK_S: Final = 300.0  # a kind that is not there is asked for again after so long, if nobody says that it has come
_FIRST_S, _LONGEST_S, _LIVED_S = 0.2, 30.0, 10.0
_UNKNOWN_PARAMETER: Final = (400, 422)
_TOO_LARGE: Final = 504


class WatchState(StrEnum):
    STARTING = "starting"
    CURRENT = "current"
    AWAY = "away"  # the server, or this connection to it
    MISSING = "not installed"
    DENIED = "denied"
    UNKNOWN_TO_IT = "not logged in"
    FAILING = "failing"


REFUSED: Final = frozenset({WatchState.DENIED, WatchState.UNKNOWN_TO_IT, WatchState.FAILING})  # the server's own answer
_BY_CODE: Final = {401: WatchState.UNKNOWN_TO_IT, 403: WatchState.DENIED}


class Heard(Protocol):
    """Who is told."""

    def all(self, told: Sequence[Told]) -> None:
        """These are all objects that there are."""

    def one(self, told: Told) -> None:
        """The object is new or another."""

    def gone(self, key: ObjectKey) -> None: ...

    def changed(self) -> None:
        """The follower's state is another."""


class Follower:
    """Use from one event loop. Cancel run() to end it."""

    def __init__(
        self, resource: Resource, server: ApiServer, heard: Heard, clock: Clock, jitter: Callable[[], float]
    ) -> None:
        """jitter: in [0, 1)."""
        self.resource = resource
        self.state = WatchState.STARTING
        self.reason = ""
        self.refusals = 0  # in a row
        self.left_at = clock.monotonic()  # since then nothing was heard, unless the state is CURRENT
        self._server, self._heard, self._clock, self._jitter = server, heard, clock, jitter
        self._reader = Reader(resource)
        self._backoff = Backoff(jitter, _FIRST_S, _LONGEST_S, _LIVED_S)
        self._versions = list(resource.versions)  # those that may be there; the first is asked for
        self._revision = ""  # up to which everything is known; empty: nothing is
        self._least = "0"  # a list may not be older; "": it has to be the newest
        self._streams = True  # lists are streamed
        self._there = False  # the kind was seen
        self._gone_since: float | None = None
        self._appeared = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            began = self._clock.monotonic()
            wait = 0.0
            try:
                await self._follow()
            except AwayError as error:
                self._leave(WatchState.AWAY, str(error))
                wait = -1.0 if self._server.gate.reason else 0.0  # else all would wait twice
            except BrokenError as error:
                self._revision = ""
                self._refuse(WatchState.FAILING, str(error))
            except RefusedError as error:
                wait = await self._refused(error)
            if wait >= 0.0:
                wait = max(wait, self._backoff.next(self._clock.monotonic() - began))
                await self._clock.sleep(wait)

    def appeared(self) -> None:
        """The cluster has the kind now."""
        self._appeared.set()

    async def _follow(self) -> None:
        """Until the stream ends."""
        if self._revision:
            await self._watch({"resourceVersion": self._revision}, listing=False)
        elif self._streams:
            try:
                await self._watch({"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}, listing=True)
            except RefusedError as error:
                if error.code not in _UNKNOWN_PARAMETER:
                    raise
                self._streams = False
        else:
            await self._list()
            await self._watch({"resourceVersion": self._revision}, listing=False)

    async def _watch(self, asked: dict[str, str], *, listing: bool) -> None:
        seconds = WATCH_S * (1.0 + self._jitter())
        query = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(int(seconds)), **asked}
        accept = self.resource.accept(watch=True)
        async with self._server.get(self._path(), self._selected(query), accept, watch=True) as body:
            end = asyncio.ensure_future(self._end(body, seconds + OVERDUE_S))
            try:
                if listing:
                    await self._hear_list(body)
                else:
                    self._arrive()
                    await self._hear(body, None, None)
            finally:
                end.cancel()

    async def _end(self, body: ResponseBody, seconds: float) -> None:
        await self._clock.sleep(seconds)
        body.abandon()

    async def _hear_list(self, body: ResponseBody) -> None:
        silence = _Silence(self._clock, body)
        try:
            await self._hear(body, {}, silence)
        except AwayError:
            if not silence.broken:
                raise
            self._streams = False  # it does not know the parameters, and says nothing of it
        finally:
            silence.end()

    async def _hear(self, body: ResponseBody, listed: dict[ObjectKey, Told] | None, silence: _Silence | None) -> None:
        """listed: the list that is told first; None: there is none, only changes."""
        lines = Lines()
        async for block in body.blocks():
            for line in lines.feed(block):
                listed = self._line(line, listed)
            if silence is not None:
                silence.heard()
                if listed is None:
                    silence.end()
                    silence = None

    def _line(self, line: bytes, listed: dict[ObjectKey, Told] | None) -> dict[ObjectKey, Told] | None:
        found = event(line)
        if found.type == "BOOKMARK":
            mark = bookmark(found.object)
            if listed is None:
                self._revision = mark.revision or self._revision
            elif mark.ends_list:
                self._whole(list(listed.values()), mark.revision)
                return None
        elif found.type == "DELETED":
            key, revision = self._reader.named(found.object)
            if listed is None:
                self._revision = revision or self._revision
                self._heard.gone(key)
            else:
                listed.pop(key, None)
        elif found.type in ("ADDED", "MODIFIED"):
            told = self._reader.read(found.object)
            if listed is None:
                self._revision = told.revision or self._revision
                self._heard.one(told)
            else:
                listed[told.key] = told
        return listed

    async def _list(self) -> None:
        query = {"resourceVersion": self._least} if self._least else {}
        if self._least not in ("", "0"):
            query["resourceVersionMatch"] = "NotOlderThan"
        told: list[Told] = []
        more: dict[str, str] = query
        while True:
            body = await self._server.whole(self._path(), self._selected(more), self.resource.accept(watch=False))
            found = page(body)
            told += [self._reader.read(item) for item in found.items]
            if not found.more:
                break
            more = {"continue": found.more}
        self._whole(told, found.revision)

    def _whole(self, told: list[Told], revision: str) -> None:
        """Everything that there is was told."""
        self._revision = self._least = revision
        self._heard.all(told)
        self._arrive()

    def _path(self) -> str:
        self._reader.version = self._versions[0]
        return self.resource.path(self._versions[0])

    def _selected(self, query: dict[str, str]) -> dict[str, str]:
        return {**query, "fieldSelector": self.resource.fields} if self.resource.fields else query

    def _arrive(self) -> None:
        self._there, self._gone_since, self.refusals = True, None, 0
        self._versions = self._versions[:1]
        self._state(WatchState.CURRENT, "")

    def _refuse(self, state: WatchState, reason: str) -> None:
        self.refusals += 1
        self._leave(state, reason)
        self._heard.changed()  # how often it was counts, too

    def _leave(self, state: WatchState, reason: str) -> None:
        if self.state is WatchState.CURRENT:
            self.left_at = self._clock.monotonic()
        self._state(state, reason)

    def _state(self, state: WatchState, reason: str) -> None:
        if (state, reason) != (self.state, self.reason):
            self.state, self.reason = state, reason
            self._heard.changed()

    async def _refused(self, error: RefusedError) -> float:
        """Seconds to wait, at least; less than 0: none at all."""
        if error.code == 410:
            self._revision = ""
            self._least = self._least if self._least == "0" else ""
            return error.retry_after
        if error.code == _TOO_LARGE and "too large" in str(error).lower():
            self._revision = self._least = ""  # the server's history was replaced by an older one
        if error.code == 404:
            return await self._absent(error)
        if error.code == 401:
            self._server.doubt()
        self._refuse(_BY_CODE.get(error.code, WatchState.FAILING), str(error))
        return error.retry_after

    async def _absent(self, error: RefusedError) -> float:
        if len(self._versions) > 1:
            del self._versions[0]
            return -1.0
        self._versions = list(self.resource.versions)
        now = self._clock.monotonic()
        self._gone_since = now if self._gone_since is None else self._gone_since
        if not self.resource.optional or (self._there and now - self._gone_since < GONE_S):
            self._refuse(WatchState.FAILING, str(error))
            return 0.0
        self._revision, self._least, self._there = "", "0", False
        self._heard.all(())
        self._leave(WatchState.MISSING, "")
        self._appeared.clear()
        waiting = [asyncio.ensure_future(self._appeared.wait()), asyncio.ensure_future(self._clock.sleep(LOOK_S))]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waiting:
                one.cancel()
        return -1.0


class _Silence:
    """Abandons an answer of which nothing was heard for too long."""

    def __init__(self, clock: Clock, body: ResponseBody) -> None:
        self._clock = clock
        self._body = body
        self._count = 0
        self._watcher = asyncio.ensure_future(self._watch())
        self.broken = False

    def heard(self) -> None:
        self._count += 1

    def end(self) -> None:
        self._watcher.cancel()

    async def _watch(self) -> None:
        before = -1
        while before != self._count:
            before = self._count
            await self._clock.sleep(SILENCE_S)
        self.broken = True
        self._body.abandon()
