"""Rows of tg_dests: where a dialled address leads. Two appliers share one table of what is wanted, because what does
not (or no longer) lead to Envoy is written before Envoy is told and what does is written after it answered.

A row that goes is a row that leads nowhere any more: it goes in prepare, before the tier that it led to forgets it. But
rows of a scope that a pod is about to leave, and that nobody may have then, go in retire, when it has another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tidegate.bpf.records import DestinationKey
from tidegate.dataplane.changes import Changes, Delta
from tidegate.dataplane.devices import DestinationRow
from tidegate.dataplane.order import PAST_ENVOY, TO_ENVOY
from tidegate.dataplane.shadow import Shadow
from tidegate.model.plan import Plan
from tidegate.model.plan.kernel import Destination
from tidegate.model.status import Outcome, Outcomes, State
from tidegate.model.tier import Tier
from tidegate.runtime.clock import Clock
from tidegate.runtime.retries import Retries

FIRST_SECONDS, LONGEST_SECONDS = 1.0, 30.0  # of the back-off of one refused row


@dataclass(slots=True)
class Wanted:
    """What tg_dests is to hold, and the keys that may not be so yet. Belongs to the tables' thread."""

    rows: dict[DestinationKey, Destination] = field(default_factory=dict)
    dirty: set[DestinationKey] = field(default_factory=set)

    def take(self, changed: Delta[Destination], shadow: Shadow) -> set[DestinationKey]:
        """Follow a change of plan, and what the kernel turned out to hold; returns the keys that may differ now."""
        fresh = shadow.take_drift()
        put = {row.key: row for row in changed.put}
        for key in {row.key for row in changed.gone} - put.keys():
            if self.rows.pop(key, None) is not None:
                fresh.add(key)
        for key, row in put.items():
            if self.rows.get(key) != row:
                fresh.add(key)
            self.rows[key] = row
        self.dirty |= fresh
        return fresh

    def todo(
        self, shadow: Shadow, plan: Plan, to_envoy: bool
    ) -> tuple[dict[DestinationKey, Destination], set[DestinationKey]]:
        """Rows to write and keys to delete; keys that turn out to be as they should are no longer dirty."""
        put: dict[DestinationKey, Destination] = {}
        delete: set[DestinationKey] = set()
        left = self._left() | _leaving(plan, shadow) if self.dirty else set()
        for key in tuple(self.dirty):
            row, held = self.rows.get(key), shadow.destinations.get(key)
            if held == (None if row is None else (row.tier, row.service)):
                self.dirty.discard(key)
            elif row is None:
                if not to_envoy and key.scope not in left:
                    delete.add(key)
            elif (row.tier is Tier.ENVOY) is to_envoy:
                put[key] = row
        return put, delete

    def orphans(self, shadow: Shadow, plan: Plan) -> set[DestinationKey]:
        """Rows that waited for pods to leave their scope, and wait no longer."""
        leaving = _leaving(plan, shadow)
        gone = (key for key in self.dirty if key.scope and key not in self.rows and key in shadow.destinations)
        return {key for key in gone if key.scope not in leaving}

    def _left(self) -> set[int]:
        """Scopes of which rows are to go, and none is to stay."""
        going = {key.scope for key in self.dirty if key.scope and key not in self.rows}
        return going - {key.scope for key in self.rows} if going else going


def _leaving(plan: Plan, shadow: Shadow) -> frozenset[int]:
    """Scopes that some pod still has in the kernel's table, and is to have no longer."""
    has = ((shadow.pods.get(pod.netns_cookie), pod.scope) for pod in plan.pods if pod.enrolled)
    return frozenset(row.scope for row, scope in has if row is not None and row.scope != scope)


class DestinationsApplier:
    """One of the two appliers of tg_dests."""

    def __init__(
        self,
        wanted: Wanted,
        shadow: Shadow,
        clock: Clock,
        jitter: Callable[[], float],
        *,
        name: str,
        missing: Callable[[Destination, DestinationRow | None, int], str],
    ) -> None:
        """name: PAST_ENVOY or TO_ENVOY. missing(row, what is there now, generation): why the row may not lead to its
        tier yet, "" if it may."""
        self.name = name
        self.serving = self.seen = 0
        self._wanted = wanted
        self._shadow = shadow
        self._clock = clock
        self._missing = missing
        self._retries: Retries[DestinationKey] = Retries(FIRST_SECONDS, LONGEST_SECONDS, jitter)
        self._refused: dict[DestinationKey, str] = {}

    async def prepare(self, plan: Plan, changed: Changes) -> Outcomes:
        """See order.Applier."""
        fresh, put, delete = await self._found(plan, changed.destinations)
        for key in fresh:
            self._retries.forget(key)  # what it was refused for may have changed
        held = {key: why for key, row in put.items() if (why := self._why_not(key, row, plan.generation))}
        now = self._clock.monotonic()
        due = [key for key in (*put, *delete) if key not in held and not self._retries.waits(key, now)]
        refused = await self._shadow.delete([key for key in due if key not in put])
        refused |= await self._shadow.put({key: put[key] for key in due if key in put})
        for key in due:
            if key in refused:
                self._retries.refused(key, now)
            else:
                self._retries.forget(key)
        waiting = (put.keys() | delete) - held.keys() - set(due)
        self._refused = {key: self._refused[key] for key in waiting & self._refused.keys()} | refused
        self._retries.keep(self._refused)
        # The relay answers at once: what it does not serve now it has refused, which its own status says.
        self.seen = self.seen if held and self.name == TO_ENVOY else plan.generation
        self.serving = self.serving if held else plan.generation
        return (
            *(Outcome(_words(key), State.FAILED, why) for key, why in self._refused.items()),
            *(Outcome(_words(key), State.PENDING, why) for key, why in held.items()),
        )

    async def retire(self, plan: Plan) -> Outcomes:
        """Rows of scopes that nobody has any more, or somebody had; others went in prepare, see above."""
        if self.name != PAST_ENVOY or not self._wanted.dirty:
            return ()
        orphans = await self._shadow.on_thread(self._wanted.orphans, self._shadow, plan)
        refused = await self._shadow.delete(tuple(orphans)) if orphans else {}
        return tuple(Outcome(_words(key), State.FAILED, why) for key, why in refused.items())

    def next_due(self) -> float | None:
        """See order.Applier."""
        return self._retries.next_due()

    async def _found(
        self, plan: Plan, changed: Delta[Destination]
    ) -> tuple[set[DestinationKey], dict[DestinationKey, Destination], set[DestinationKey]]:
        """See Wanted. Most passes are about pods: then there is nothing to walk, and no thread to wait for."""
        if not (changed or self._wanted.dirty or self._shadow.drifted):
            return set(), {}, set()
        return await self._shadow.on_thread(self._look, plan, changed)

    def _look(
        self, plan: Plan, changed: Delta[Destination]
    ) -> tuple[set[DestinationKey], dict[DestinationKey, Destination], set[DestinationKey]]:
        fresh = self._wanted.take(changed, self._shadow) if self.name == PAST_ENVOY else set()
        return fresh, *self._wanted.todo(self._shadow, plan, to_envoy=self.name == TO_ENVOY)

    def _why_not(self, key: DestinationKey, row: Destination, generation: int) -> str:
        return self._missing(row, self._shadow.destinations.get(key), generation)


def _words(key: DestinationKey) -> str:
    return f"destination {key}"
