"""Whether others are enrolled as fast beside what goes wrong: `enrol.beside_bad.*` of bench.json.

Beside a VirtualService that Envoy rejects, a pod that cannot be captured and a pod in a crash loop, all at once;
without them; and beside a crash loop of which the agent is told nothing: in turns on one node, so the machine's own
noise meets all three. Namespaces and links that come and go hold the kernel's lock for such changes (RTNL), with or
without a mesh: what `churn` has over `quiet` is that, what `beside` has over `churn` is ours.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Any

from tests.bench import scale_config as config
from tests.bench.scale import AT_ONCE, MS, Effort, Figure, percentile, running, say, whole
from tests.bench.scale_rig import NODE, TAG, Rig, netns
from tests.support.rig import full
from tests.support.strict_envoy import REFUSED, refuses_expressions

TURNS = 10  # quiet, churn and beside, each with a tenth of the calls
CRASH_SECONDS = 0.2  # from one sandbox of the crash loop to the next: faster than any runtime's back-off
FIRST = config.FEW.pods
STUCK, CRASHING, OTHERS = FIRST, FIRST + 1, range(FIRST + 2, FIRST + config.MANY_COME.spare)


def measured(effort: Effort) -> list[dict[str, Any]]:
    """CNI ADD of one new pod after the other, quiet and beside."""
    quiet, churn, beside = [], [], []
    others = cycle(OTHERS)
    with running(config.MANY_COME, "enrol.beside_bad") as rig:
        with trouble(rig):
            adds(rig, AT_ONCE, others)  # not counted: a loop that has just begun is one pod more that comes
        for turn in range(TURNS):
            each = max(1, effort.adds // TURNS)
            quiet += adds(rig, each, others)
            with going_on(rig, come_and_go):
                churn += adds(rig, each, others)
            with trouble(rig):
                beside += adds(rig, each, others)
            whole(rig)
            worst, churned, alone = (max(values[-each:]) for values in (beside, churn, quiet))
            say(f"enrol.beside_bad: {worst:.0f} ms, churn {churned:.0f} ms, quiet {alone:.0f} ms ({turn + 1}/{TURNS})")
    figures = []
    for part, share in (("p50_ms", 0.5), ("p99_ms", 0.99)):
        for name, values in ((part, beside), (f"churn_{part}", churn), (f"quiet_{part}", quiet)):
            figures.append(Figure(f"enrol.beside_bad.{name}", MS, percentile(share)))
            for value in values:
                figures[-1].add(value)
    return [figure.result() for figure in figures]


def adds(rig: Rig, times: int, others: Iterator[int]) -> list[float]:
    """Milliseconds of so many calls, each for a sandbox that is new, of the next of these pods."""
    values: list[float] = []
    while len(values) < times:
        now = list(islice(others, min(AT_ONCE, times - len(values))))
        values += [rig.cni("ADD", number) for number in now]
        for number in now:
            rig.cni("DEL", number)
            rig.renew(number)
    return values


@contextlib.contextmanager
def trouble(rig: Rig) -> Iterator[None]:
    """All three, begun before the block and taken away after it."""
    with refused_rule(rig), full(STUCK), going_on(rig, attach_full_pod, crash):
        yield
    for number in (STUCK, CRASHING):
        rig.call("DEL", number)
        rig.renew(number)


@contextlib.contextmanager
def going_on(rig: Rig, *things: Any) -> Iterator[None]:
    """Each over and over during the block."""
    done = threading.Event()
    working = [threading.Thread(target=again, args=(rig, done, one)) for one in things]
    for thread in working:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in working:
            thread.join()


def again(rig: Rig, done: threading.Event, one: Any) -> None:
    while not done.is_set():
        one(rig, done)


@contextlib.contextmanager
def refused_rule(rig: Rig) -> Iterator[None]:
    """A rule that only Envoy can find wrong, of a service that a pod uses."""
    number = config.with_rule(rig.size)[0]
    watcher = rig.watcher()
    watcher.tell(do="first", url=[config.vip(number), config.PORT, config.host(number)])
    watcher.answer()
    path = rig.work / "config" / "rules" / f"{number:05}.yaml"
    good = path.read_text()
    try:
        with refuses_expressions(rig.run_dir):
            path.write_text(config.rule(number, 1).replace("{prefix: /old}", f"{{regex: '{REFUSED}'}}"))
            rig.wait("Envoy refuses the rule", lambda status: status["envoy"]["xds"]["nacks"])
            yield
    finally:
        path.write_text(good)
        watcher.close()
        rig.watchers.remove(watcher)


def attach_full_pod(rig: Rig, done: threading.Event) -> None:
    """Refused after the agent's patience, and tried again as a runtime does."""
    rig.call("ADD", STUCK, timeoutSeconds=2)
    done.wait(0.5)


def crash(rig: Rig, done: threading.Event) -> None:
    """One sandbox that is gone while it is being enrolled."""
    adding = threading.Thread(target=rig.call, args=("ADD", CRASHING))
    adding.start()
    leave()
    adding.join()
    rig.call("DEL", CRASHING)
    rig.join(CRASHING)
    done.wait(CRASH_SECONDS)


def come_and_go(rig: Rig, done: threading.Event) -> None:
    """The crash loop's namespace and link, of which the agent is told nothing."""
    leave()
    rig.join(CRASHING)
    done.wait(CRASH_SECONDS)


def leave() -> None:
    subprocess.run(["ip", "-n", NODE, "link", "delete", netns(CRASHING).removeprefix(f"{TAG}-")], check=True)
    subprocess.run(["ip", "netns", "delete", netns(CRASHING)], check=True)
