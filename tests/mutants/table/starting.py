"""An agent's start: it imports and reads what it needs, once."""

from __future__ import annotations

from tests.mutants.mutant import Group, Mutant

WATCH = "agent/tidegate/runtime/watch.py"
LOOKS = "tests/unit/runtime/test_watch.py"
COLLECTOR = "tests/unit/runtime/test_collector.py"
HTTP = "tests/unit/runtime/test_http.py"
NEEDS = "tests/unit/cli/test_main.py::test_an_agent_starts_without_what_few_agents_need"

GROUPS = (
    Group(
        "scale.cold_s, recover.agent_ms: an agent's start",
        (
            Mutant(
                "everything-is-looked-at-twice",
                "the whole configuration directory is looked at a second time right after the first",
                WATCH,
                "                    if changed or ticks % _LOOK_EVERY == 0:\n",
                "                    if changed or ticks % _LOOK_EVERY <= 1:\n",
                (f"{LOOKS}::test_nobody_looks_again_for_nothing",),
            ),
            Mutant(
                "watched-after-the-look",
                "a file that is written while the directory is read for the first time is found two seconds later",
                WATCH,
                "            yield False\n            while True:\n"
                "                found = await thread.do(watch.watch, _DEBOUNCE_MS, _STEP_MS, _TICK_MS, stop)\n",
                "            while True:\n"
                "                found = await thread.do(watch.watch, _DEBOUNCE_MS, _STEP_MS, _TICK_MS, stop)\n",
                (LOOKS,),
            ),
            Mutant(
                "blind-without-a-watch",
                "a machine whose inotify watches are used up never reads its configuration",
                WATCH,
                "            yield None\n            await asyncio.sleep(_TICK_MS / 1000)\n",
                "            await asyncio.sleep(_TICK_MS / 1000)\n",
                (f"{LOOKS}::test_without_a_watch_everything_is_looked_at_all_the_same",),
            ),
            Mutant(
                "modules-are-walked-while-they-come",
                "the collector walks all that was imported again and again while more is imported",
                "agent/tidegate/runtime/collector.py",
                "    with paused():\n        yield\n        settle()\n",
                "    yield\n    settle()\n",
                (COLLECTOR,),
            ),
            Mutant(
                "authorities-stay-away",
                "after aiohttp was imported nobody in the process finds the machine's certificate authorities",
                "agent/tidegate/runtime/http.py",
                "                del os.environ[name]\n",
                "                pass\n",
                (HTTP,),
            ),
            Mutant(
                "all-ports-are-made",
                "a pod that comes costs 2 ms for the numbers of ports that nobody tries",
                "agent/tidegate/dataplane/capture.py",
                "    for number in chain(above, below, within):",
                "    for number in [*above, *below, *within, *chain()]:",
                ("tests/unit/dataplane/test_capture.py::test_only_the_ports_that_are_tried_are_made",),
                raises=("MemoryError",),
            ),
            Mutant(
                "every-message-is-made-ready",
                "an agent makes all messages of the API ready before it has read a document",
                "agent/tidegate/config/schema.py",
                ", defer_build=True\n",
                "\n",
                (NEEDS,),
            ),
        ),
    ),
)
