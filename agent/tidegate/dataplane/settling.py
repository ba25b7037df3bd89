"""What became of each sandbox, and who waits for it: every pod settles by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Container

from tidegate.model.status import PodStatus


class Settling:
    """Newest verdict by netns cookie. Use from one event loop."""

    def __init__(self) -> None:
        self._verdicts: dict[int, PodStatus] = {}
        self._waiting: dict[int, set[asyncio.Event]] = {}

    def tell(self, verdict: PodStatus) -> None:
        """Replace what is known of a sandbox and wake who waits for it."""
        if self._verdicts.get(verdict.netns_cookie) != verdict:
            self._verdicts[verdict.netns_cookie] = verdict
            for event in self._waiting.get(verdict.netns_cookie, ()):
                event.set()

    def keep(self, cookies: Container[int]) -> None:
        """Forget all others."""
        self._verdicts = {cookie: verdict for cookie, verdict in self._verdicts.items() if cookie in cookies}

    def all(self) -> tuple[PodStatus, ...]:
        return tuple(self._verdicts.values())

    async def settled(self, cookie: int, timeout: float) -> PodStatus | None:
        """Wait until the sandbox is as the configuration wants it; the last word, or None, after timeout seconds."""
        event = asyncio.Event()
        self._waiting.setdefault(cookie, set()).add(event)
        try:
            async with asyncio.timeout(timeout):
                while (verdict := self._verdicts.get(cookie)) is None or not verdict.state.settled:
                    event.clear()
                    await event.wait()
            return verdict
        except TimeoutError:
            return self._verdicts.get(cookie)
        finally:
            self._waiting[cookie].discard(event)
            if not self._waiting[cookie]:
                del self._waiting[cookie]
