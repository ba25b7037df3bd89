"""What the user wants: the objects applied so far, and what follows from them. Plays the API server's storage.

Sans-IO. `lab apply` and `lab delete` change the set of documents in one step or, on an error, not at all; everything
else is derived from it anew each time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tidegate.errors import Rejected
from tidegate.model.names import ROOT_NAMESPACE, ObjectKey, ServiceName
from tidegate.model.net import IPAddress, parse_ip
from tidegate_lab import addresses, spec
from tidegate_lab.manifest import Manifest, ManifestFile

# The lab acts on these and hands its completed version to the agents; documents of other kinds pass through as text.
POD = ("", "Pod")
SERVICE = ("", "Service")
NAMESPACE = ("", "Namespace")
DEPLOYMENT = ("apps", "Deployment")
OWNED = frozenset({POD, SERVICE, DEPLOYMENT})

GIVEN_NAMESPACES = frozenset({"default", "kube-system", ROOT_NAMESPACE})


@dataclass(frozen=True, slots=True)
class ServiceObject:
    """A Service with the addresses that the lab gave it (none when headless or ExternalName)."""

    name: ServiceName
    spec: spec.ServiceSpec
    addresses: tuple[IPAddress, ...]
    document: Manifest


@dataclass(slots=True)
class Cluster:
    """Objects by key, and the service addresses handed out; an address stays with its name while that lives."""

    documents: dict[ObjectKey, Manifest] = field(default_factory=dict)
    _addresses: dict[ServiceName, tuple[IPAddress, ...]] = field(default_factory=dict)

    def apply(self, documents: Iterable[Manifest]) -> None:
        """Create or replace objects. Raises Rejected, naming file and line, and then nothing has changed."""
        merged = dict(self.documents)
        for document in documents:
            merged[document.key] = document
        _check(merged)
        allocated = _allocate(merged, self._addresses)
        self.documents, self._addresses = merged, allocated

    def delete(self, keys: Iterable[ObjectKey]) -> list[ObjectKey]:
        """Remove objects, a namespace with everything in it; return those that existed."""
        wanted = set(keys)
        namespaces = {key.name for key in wanted if (key.group, key.kind) == NAMESPACE}
        gone = [key for key in self.documents if key in wanted or key.namespace in namespaces - GIVEN_NAMESPACES]
        self.documents = {key: doc for key, doc in self.documents.items() if key not in gone}
        self._addresses = {name: a for name, a in self._addresses.items() if _service_key(name) in self.documents}
        return gone

    def of(self, kind: tuple[str, str]) -> list[Manifest]:
        return [doc for key, doc in self.documents.items() if (key.group, key.kind) == kind]

    def services(self) -> list[ServiceObject]:
        found = []
        for document in self.of(SERVICE):
            name = ServiceName(document.key.namespace, document.key.name)
            service = spec.read(document, spec.Service).spec
            found.append(ServiceObject(name, service, self._addresses.get(name, ()), document))
        return found

    def namespaces(self) -> frozenset[str]:
        return GIVEN_NAMESPACES | {document.key.name for document in self.of(NAMESPACE)}

    def sources(self) -> dict[ManifestFile, list[Manifest]]:
        """Live documents by the file version that they came from."""
        found: dict[ManifestFile, list[Manifest]] = {}
        for document in self.documents.values():
            found.setdefault(document.source, []).append(document)
        return found


def _service_key(name: ServiceName) -> ObjectKey:
    return ObjectKey(*SERVICE, name.namespace, name.name)


def _check(documents: Mapping[ObjectKey, Manifest]) -> None:
    namespaces = GIVEN_NAMESPACES | {key.name for key in documents if (key.group, key.kind) == NAMESPACE}
    models: dict[tuple[str, str], type[spec.KubeModel]] = {
        POD: spec.Pod,
        SERVICE: spec.Service,
        DEPLOYMENT: spec.Deployment,
    }
    for key, document in documents.items():
        if key.namespace and key.namespace not in namespaces:
            reason = f"namespace {key.namespace!r} does not exist"
            raise document.rejected(reason, ("metadata", "namespace"), "apply a Namespace document for it")
        model = models.get((key.group, key.kind))
        if model is not None:
            spec.read(document, model)


def _allocate(
    documents: Mapping[ObjectKey, Manifest], before: Mapping[ServiceName, tuple[IPAddress, ...]]
) -> dict[ServiceName, tuple[IPAddress, ...]]:
    """Addresses of every Service: those it asks for, else those it had, else free ones. Raises Rejected."""
    result: dict[ServiceName, tuple[IPAddress, ...]] = {}
    pending: list[tuple[ServiceName, spec.ServiceSpec]] = []
    taken: dict[IPAddress, ServiceName] = {}
    for key, document in documents.items():
        if (key.group, key.kind) != SERVICE:
            continue
        name, service = ServiceName(key.namespace, key.name), spec.read(document, spec.Service).spec
        asked = _asked(document, service)
        if service.headless or service.type == "ExternalName":
            result[name] = ()
            continue
        if not asked:
            pending.append((name, service))
            continue
        for address in asked:
            if address in taken:
                raise document.rejected(f"{address} belongs to {taken[address]} already", ("spec", "clusterIP"))
            taken[address] = name
        result[name] = asked
    for name, service in pending:
        kept = before.get(name, ())
        if kept and len(kept) == len(_families(service)) and not any(a in taken for a in kept):
            result[name] = kept
        else:
            slot = _free_slot(taken, before)
            result[name] = tuple(
                addresses.SERVICES4[slot] if family == "IPv4" else addresses.SERVICES6[slot]
                for family in _families(service)
            )
        taken.update(dict.fromkeys(result[name], name))
    return result


def _asked(document: Manifest, service: spec.ServiceSpec) -> tuple[IPAddress, ...]:
    texts = service.cluster_ips or ((service.cluster_ip,) if service.cluster_ip else ())
    if service.headless or texts == ("None",):
        return ()
    try:
        return tuple(parse_ip(text) for text in texts)
    except ValueError as error:
        raise document.rejected(str(error), ("spec", "clusterIP")) from None


def _families(service: spec.ServiceSpec) -> tuple[str, ...]:
    """Both families unless the Service says otherwise: a lab always has both."""
    if service.ip_families:
        return service.ip_families
    return ("IPv4",) if service.ip_family_policy == "SingleStack" else ("IPv4", "IPv6")


def _free_slot(taken: Mapping[IPAddress, ServiceName], before: Mapping[ServiceName, tuple[IPAddress, ...]]) -> int:
    used = set(taken) | {address for kept in before.values() for address in kept}
    for slot in range(addresses.FIRST_SERVICE, addresses.SERVICES4.num_addresses - 1):
        if addresses.SERVICES4[slot] not in used and addresses.SERVICES6[slot] not in used:
            return slot
    raise Rejected("service addresses", f"{addresses.SERVICES4} is used up", "delete Services")
