"""The incremental dialect (DeltaAggregatedResources). Pure: messages in, messages out."""

from __future__ import annotations

from typing import Any

from envoy.service.discovery.v3 import discovery_pb2

from tidegate.model.plan.envoy import TYPE_URLS
from tidegate.xds.encode import KIND_OF_URL, Rejection
from tidegate.xds.session import Request, Session
from tidegate.xds.watch import Push

WILDCARD = "*"


class DeltaStream:
    """Translates one delta stream to and from its session."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def receive(self, message: Any) -> Rejection | None:
        """Take in a DeltaDiscoveryRequest; types that we do not serve are ignored."""
        kind = KIND_OF_URL.get(message.type_url)
        if kind is None:
            return None
        subscribe, unsubscribe = set(message.resource_names_subscribe), set(message.resource_names_unsubscribe)
        watch = self.session.watches[kind]
        # The first request about a type that names nothing asks for everything (legacy form of "*").
        everything = WILDCARD in subscribe or (not watch.subscribed and not subscribe and not unsubscribe)
        return self.session.receive(
            Request(
                kind,
                nonce=message.response_nonce,
                error=message.error_detail.message if message.HasField("error_detail") else None,
                subscribe=tuple(sorted(subscribe - {WILDCARD})),
                unsubscribe=tuple(sorted(unsubscribe - {WILDCARD})),
                subscribe_all=everything and WILDCARD not in unsubscribe,
                unsubscribe_all=WILDCARD in unsubscribe,
                known=dict(message.initial_resource_versions),
            )
        )

    def responses(self) -> list[Any]:
        """DeltaDiscoveryResponses to send now, in order."""
        return [_render(push) for push in self.session.pushes()]


def _render(push: Push) -> Any:
    url = TYPE_URLS[push.kind]
    message = discovery_pb2.DeltaDiscoveryResponse(
        type_url=url, nonce=push.nonce, system_version_info=str(push.generation), removed_resources=push.remove
    )
    for encoded in push.put:
        resource = message.resources.add(name=encoded.name, version=encoded.version)
        resource.resource.type_url = url
        resource.resource.value = encoded.data
    return message
