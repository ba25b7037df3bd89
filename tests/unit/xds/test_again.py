"""A secret that was refused is offered again in other words, and means the same."""

from __future__ import annotations

import base64
from itertools import pairwise

import pytest
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from tidegate.model.plan.envoy import SECRETS, EnvoyResource
from tidegate.xds.encode import Encoded, Encoder
from tidegate.xds.watch import Push, Watch

FILES = {"certificate_chain": {"filename": "/c/a.pem"}, "private_key": {"filename": "/c/a.key"}}
INLINE = {"trusted_ca": {"inline_bytes": base64.b64encode(b"PEM").decode()}}
BODIES = {
    "file-cert:a": {"tls_certificate": {**FILES, "watched_directory": {"path": "/c"}}},
    "kubernetes://a-cacert": {"validation_context": INLINE},
}


def watch_of(*names: str) -> Watch:
    encoder, watch = Encoder(), Watch(SECRETS, {})
    target: dict[str, Encoded] = {}
    for name in names:
        encoded, rejection = encoder.encode(SECRETS, name, EnvoyResource(name, {"name": name, **BODIES[name]}))
        assert encoded is not None, rejection
        target[name] = encoded
    watch.retarget(target)
    watch.subscribe(names)
    return watch


def offer(watch: Watch, number: int) -> Push:
    push = watch.push(str(number), 1, ())
    assert push is not None
    return push


@pytest.mark.parametrize("name", BODIES)
def test_no_two_offers_that_follow_each_other_are_the_same_to_envoy(name: str) -> None:
    watch, said = watch_of(name), []
    for number in range(4):
        [encoded] = offer(watch, number).put
        said.append(encoded.data)
        assert encoded.version == watch.target[name].version
        watch.refuse(str(number), "Invalid path: /c/a.key")
        assert [r.name for r in watch.withheld()] == [name]
        watch.retry(name)
    assert all(one != next_one for one, next_one in pairwise(said))
    assert said[0] not in said[1:], "who remembers the first from an earlier stream looks at the others"
    secrets = [Secret.FromString(data) for data in said]
    assert {s.tls_certificate.private_key.filename for s in secrets} in ({"/c/a.key"}, {""})
    assert {s.tls_certificate.watched_directory.path for s in secrets} in ({"/c", "/c/.", "/c/./."}, {""})
    assert {s.validation_context.trusted_ca.inline_bytes.strip() for s in secrets} in ({b"PEM"}, {b""})


def test_one_of_several_that_were_refused_together_is_found_by_what_is_new_to_envoy() -> None:
    watch = watch_of(*BODIES)
    first = offer(watch, 0)
    assert len(first.put) == 2
    watch.refuse("0", "Invalid path: /c/a.key")
    [alone] = offer(watch, 1).put
    assert alone.data not in {encoded.data for encoded in first.put}


def test_what_was_confirmed_is_said_as_it_is_published() -> None:
    [name] = ["file-cert:a"]
    watch = watch_of(name)
    offer(watch, 0)
    watch.refuse("0", "Invalid path: /c/a.key")
    watch.retry(name)
    offer(watch, 1)
    watch.accept("1")
    assert watch.held[name].version == watch.target[name].version
    watch.repeat([name])
    assert offer(watch, 2).put == (watch.target[name],)
