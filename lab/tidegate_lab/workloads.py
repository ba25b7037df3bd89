"""Which pods there should be: bare Pods and the replicas of Deployments. Plays the controllers.

Pure: plan() compares the objects with the pods that exist and says what to create and what to end. It is called again
after every change, so it need not remember where a rollout stands.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidegate.model.names import ObjectKey, WorkloadId
from tidegate_lab import spec
from tidegate_lab.cluster import DEPLOYMENT, POD, Cluster
from tidegate_lab.manifest import Manifest

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # Kubernetes' own for generated names: no vowels, no look-alikes


@dataclass(frozen=True, slots=True)
class PodObject:
    """A pod that should run. Equality ignores the document, so applying an unchanged file changes nothing."""

    id: WorkloadId
    owner: ObjectKey
    spec: spec.PodSpec
    spec_hash: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    raw_spec: Mapping[str, Any]
    document: Manifest = field(compare=False)

    @property
    def manifest_dir(self) -> Path:
        return self.document.source.path.parent


@dataclass(frozen=True, slots=True)
class Existing:
    """What plan() has to know of a pod that exists."""

    pod: PodObject
    ready: bool
    ending: bool


@dataclass(frozen=True, slots=True)
class PodChanges:
    create: tuple[PodObject, ...] = ()
    end: tuple[WorkloadId, ...] = ()
    change: tuple[PodObject, ...] = ()  # new labels or annotations of a pod that goes on running

    def __bool__(self) -> bool:
        return bool(self.create or self.end or self.change)


def plan(cluster: Cluster, existing: Mapping[WorkloadId, Existing], suffix: Callable[[], str]) -> PodChanges:
    """What to do next. suffix gives a new five-letter end of a pod name each time."""
    create: list[PodObject] = []
    end: list[WorkloadId] = []
    change: list[PodObject] = []
    owners = set()
    for document in cluster.of(POD):
        owners.add(document.key)
        wanted = bare_pod(document)
        have = existing.get(wanted.id)
        if have is None:
            create.append(wanted)
        elif have.pod.spec_hash != wanted.spec_hash or have.pod.owner != wanted.owner:
            end.append(wanted.id)  # created anew once it is gone
        elif have.pod != wanted:
            change.append(wanted)
    for document in cluster.of(DEPLOYMENT):
        owners.add(document.key)
        new, old = _plan_deployment(document, existing, suffix)
        create += new
        end += old
    end += [pod for pod, have in existing.items() if have.pod.owner not in owners]
    return PodChanges(tuple(create), tuple(pod for pod in end if not existing[pod].ending), tuple(change))


def _plan_deployment(
    document: Manifest, existing: Mapping[WorkloadId, Existing], suffix: Callable[[], str]
) -> tuple[list[PodObject], list[WorkloadId]]:
    """Surge, then shrink: old pods end when as many new ones are ready as the Deployment wants."""
    replicas = spec.read(document, spec.Deployment).spec.replicas
    template = replica(document, "")
    mine = [have for have in existing.values() if have.pod.owner == document.key and not have.ending]
    fresh = [have for have in mine if have.pod.spec_hash == template.spec_hash]
    stale = [have for have in mine if have.pod.spec_hash != template.spec_hash]
    create = [replica(document, suffix()) for _ in range(replicas - len(fresh))]
    fresh.sort(key=lambda have: have.ready, reverse=True)  # stable: of equals, the oldest stay
    end = [have.pod.id for have in fresh[replicas:]]
    if sum(have.ready for have in fresh) >= replicas:
        end += [have.pod.id for have in stale]
    return create, end


def bare_pod(document: Manifest) -> PodObject:
    """The pod of a Pod document."""
    pod = spec.read(document, spec.Pod)
    raw = document.body["spec"]
    name = WorkloadId(document.key.namespace, document.key.name)
    meta = pod.metadata
    return PodObject(name, document.key, pod.spec, _hash(raw, document), meta.labels, meta.annotations, raw, document)


def replica(document: Manifest, suffix: str) -> PodObject:
    """One pod of a Deployment document, named <deployment>-<template hash>-<suffix>."""
    template = spec.read(document, spec.Deployment).spec.template
    raw = document.body["spec"]["template"]
    digest = _hash(raw, document)
    name = WorkloadId(document.key.namespace, f"{document.key.name}-{digest}-{suffix}")
    labels = {**template.metadata.labels, "pod-template-hash": digest}
    annotations = template.metadata.annotations
    return PodObject(name, document.key, template.spec, digest, labels, annotations, raw["spec"], document)


def letters(seed: str, count: int) -> str:
    """count letters of the alphabet of generated names, decided by seed."""
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest())
    text = ""
    for _ in range(count):
        number, digit = divmod(number, len(_ALPHABET))
        text += _ALPHABET[digit]
    return text


def _hash(raw: Mapping[str, Any], document: Manifest) -> str:
    """$(LAB_MANIFEST_DIR) makes the directory part of what runs."""
    return letters(json.dumps([raw, str(document.source.path.parent)], sort_keys=True, default=str), 9)
