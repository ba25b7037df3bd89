"""The small API server inside of a network namespace, beside a test that is no coroutine."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.support.eventually import HANG_SECONDS
from tests.support.kube.fake_api import FakeApi, Object
from tests.support.kube.kubeconfig import of_the_server, write_kubeconfig
from tidegate.linux.netns import in_netns

T = TypeVar("T")


class ApiInside:
    """Use as a context manager: it answers on the localhost of the namespace, from a thread that has entered it."""

    def __init__(self, netns: str, directory: Path) -> None:
        """netns: name below /run/netns. directory: for certificates and the kubeconfig."""
        self._fd = os.open(f"/run/netns/{netns}", os.O_RDONLY | os.O_CLOEXEC)
        self._directory = directory
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=in_netns, args=(self._fd, self._turn), name="api-server")
        self.api = FakeApi(ssl=of_the_server(directory))
        self.kubeconfig = Path()

    def _turn(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def __enter__(self) -> Self:
        self._thread.start()
        self.start()
        self.kubeconfig = write_kubeconfig(self._directory, self.api)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._do(self._quiet())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        os.close(self._fd)

    def start(self) -> None:
        """On the port that it had before."""
        self._do(self.api.start())

    def stop(self) -> None:
        """Nobody answers any more; streams are cut."""
        self._do(self.api.stop())

    def apply(self, *documents: Object) -> None:
        """Create or replace."""
        self._do(self._call(documents, self.api.apply))

    def delete(self, *documents: Object) -> None:
        for document in documents:
            self._do(self._call([document], self.api.delete))

    async def _quiet(self) -> None:
        """Who still answers a request stops."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _call(self, documents: Any, what: Any) -> None:
        what(*documents)

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(HANG_SECONDS)
