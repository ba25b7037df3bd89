"""Rules, shown to a client alone before they get among those of others. Pure.

A route configuration is refused as a whole, and a rule for a host that is no service stands in that of every service.
So each rule is first put under a scope of its own, which no address has and which is fetched at once, and taken away
when the client has answered. What is not judged yet, or was refused, holds back the tables that it stands in
(session.py); whoever makes them takes the verdict and leaves a refused rule out. Few at a time: what is shown takes
memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from tidegate.model.plan.envoy import REFUSED, ROUTES, EnvoyResource, ResourceRef
from tidegate.model.verdict import Verdict
from tidegate.xds.encode import Encoded, Image, Rejection, encode_scope
from tidegate.xds.watch import Watch

AT_A_TIME = 50
RuleKey = tuple[str, str, str]  # Origin.object
CHECK = "check|"  # how their names begin, and those of no address


class Checks:
    """What one client was shown, is shown and has still to be shown."""

    def __init__(self) -> None:
        self._judged: dict[str, EnvoyResource] = {}
        self._refused: dict[str, Rejection] = {}  # those of them that were
        self._shown: dict[str, EnvoyResource] = {}
        self._wanted: Mapping[str, EnvoyResource] = {}
        self._due: dict[str, EnvoyResource] = {}
        self._verdicts: list[Verdict] = []

    @property
    def busy(self) -> bool:
        """Whether something was not judged yet."""
        return bool(self._shown or self._due)

    def withheld(self) -> list[Rejection]:
        """What the client said against rules that are still published."""
        return list(self._refused.values())

    def refused(self) -> set[RuleKey]:
        """The rules in force that the client refused."""
        return self._origins(self._refused)

    def unjudged(self) -> set[RuleKey]:
        """The rules in force of which it is not known whether the client takes them."""
        return self._origins((*self._due, *self._shown))

    def _origins(self, names: Iterable[str]) -> set[RuleKey]:
        return {o.object for name in names if not name.endswith(REFUSED) for o in self._wanted[name].origins}

    def take_verdicts(self) -> list[Verdict]:
        """What was judged since this was called last."""
        verdicts, self._verdicts = self._verdicts, []
        return verdicts

    def scopes(self) -> dict[str, Encoded]:
        """What to show now."""
        return {name: _scope(name) for name in self._shown}

    def want(self, image: Image) -> None:
        """Set what has to be shown; what is the same object as before was judged already."""
        if image.checks is self._wanted:
            return
        known = {id(self._judged[n].judged): rejection for n, rejection in self._refused.items()}
        self._wanted = image.checks
        self._judged = {n: judged for n, judged in self._judged.items() if self._wanted.get(n) is judged}
        self._refused = {n: rejection for n, rejection in self._refused.items() if n in self._judged}
        self._shown = {n: shown for n, shown in self._shown.items() if self._wanted.get(n) is shown}
        self._due = {}
        for name, resource in self._wanted.items():
            if name in self._judged or name in self._shown:
                continue
            # What was refused under another name is not shown again for that.
            before = known.get(id(resource.judged)) if name.endswith(REFUSED) and resource.judged is not None else None
            if before is None:
                self._due[name] = resource
            else:
                self._judged[name], self._refused[name] = resource, replace(before, name=name)

    def advance(self, image: Image, routes: Watch) -> bool:
        """Take in what the client answered and show it the next ones; whether scopes() became something else."""
        answered = False
        for name, resource in list(self._shown.items()):
            encoded = image.get(ROUTES, name)
            held = routes.held.get(name)
            rejection = routes.rejected.get((name, encoded.version)) if encoded else image.rejection(ROUTES, name)
            if encoded is None or rejection or (held is not None and held.version == encoded.version):
                self._judge(name, resource, rejection)
                answered = True
        more = list(self._due)[: AT_A_TIME - len(self._shown)]
        for name in more:
            self._shown[name] = self._due.pop(name)
        return answered or bool(more)

    def _judge(self, name: str, resource: EnvoyResource, rejection: Rejection | None) -> None:
        self._judged[name] = resource
        del self._shown[name]
        if rejection is not None:
            self._refused[name] = rejection
        if resource.judged is not None:
            self._verdicts.append(Verdict(resource.judged, rejection.detail if rejection else ""))


def _scope(name: str) -> Encoded:
    body = {
        "name": name,
        "on_demand": False,
        "route_configuration_name": name,
        "key": {"fragments": [{"string_key": name}]},
    }
    return encode_scope(EnvoyResource(name, body, (), frozenset({ResourceRef(ROUTES, name)})))
