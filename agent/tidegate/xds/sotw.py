"""The state-of-the-world dialect (StreamAggregatedResources). Pure: messages in, messages out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2

from tidegate.model.plan.envoy import CLUSTERS, LISTENERS, SCOPES, TYPE_URLS
from tidegate.xds.delta import WILDCARD
from tidegate.xds.encode import KIND_OF_URL, Encoded, Rejection
from tidegate.xds.session import Request, Session
from tidegate.xds.watch import Push

# Of these a response is everything that there is, and what is missing from it is deleted.
WHOLE = frozenset({CLUSTERS, LISTENERS, SCOPES})


class SotwStream:
    """Translates one state-of-the-world stream to and from its session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._named: set[str] = set()  # kinds of which the client ever named something

    def receive(self, message: Any) -> Rejection | None:
        """Take in a DiscoveryRequest; types that we do not serve are ignored."""
        kind = KIND_OF_URL.get(message.type_url)
        if kind is None:
            return None
        watch = self.session.watches[kind]
        nonce = message.response_nonce if watch.subscribed else ""  # else it is of a stream before this one
        if nonce and nonce != watch.last_nonce:
            return None  # answers an older response; the client repeats its names with the newest nonce
        names = set(message.resource_names) - {WILDCARD}
        everything = WILDCARD in message.resource_names
        if message.resource_names:
            self._named.add(kind)
        elif kind in WHOLE and kind not in self._named:
            everything = True  # who never named anything means all of it
        added = names - watch.names if nonce else names
        gone = watch.names - names
        return self.session.receive(
            Request(
                kind,
                nonce=nonce,
                error=message.error_detail.message if message.HasField("error_detail") else None,
                subscribe=tuple(sorted(added)),
                unsubscribe=tuple(sorted(gone)),
                subscribe_all=everything and not watch.wildcard,
                unsubscribe_all=watch.wildcard and not everything,
            )
        )

    def responses(self) -> list[Any]:
        """DiscoveryResponses to send now, in order."""
        return [
            _render(push, self.session.watches[push.kind].world(push) if push.kind in WHOLE else push.put)
            for push in self.session.pushes()
        ]


def _render(push: Push, shown: Iterable[Encoded]) -> Any:
    url = TYPE_URLS[push.kind]
    message = discovery_pb2.DiscoveryResponse(type_url=url, nonce=push.nonce, version_info=str(push.generation))
    for encoded in shown:
        resource = message.resources.add(type_url=url)
        resource.value = encoded.data
    return message
