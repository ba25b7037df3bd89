"""The inputs of derived values: each table of the Facts by its name. compile/facts.py says what is in them."""

from __future__ import annotations

from typing import Final

from tidegate.compile.derive import Input
from tidegate.model.entry import WorkloadEntry
from tidegate.model.envoy_filter import EnvoyFilter, Patch
from tidegate.model.kube import EndpointSlice, Namespace, Node, Pod, Service
from tidegate.model.mesh_config import MeshConfig
from tidegate.model.names import WorkloadId
from tidegate.model.net import IPAddress
from tidegate.model.routing import VirtualService
from tidegate.model.selectors import LabelPair
from tidegate.model.sidecar import Sidecar
from tidegate.model.traffic import DestinationRule

PODS: Final[Input[WorkloadId, Pod]] = Input("pods")
NODES: Final[Input[str, Node]] = Input("nodes")
HERE: Final[Input[str, str]] = Input("here")  # "": the name of this node, if it is known
NAMESPACES: Final[Input[str, Namespace]] = Input("namespaces")
SERVICES: Final[Input[str, Service]] = Input("services")
PODS_BY_ADDRESS: Final[Input[IPAddress, tuple[Pod, ...]]] = Input("pods_by_address")
PODS_BY_SERVICE: Final[Input[str, tuple[Pod, ...]]] = Input("pods_by_service")
WORKLOADS_BY_SERVICE: Final[Input[str, tuple[WorkloadEntry, ...]]] = Input("workloads_by_service")
SERVICES_BY_ADDRESS: Final[Input[IPAddress, tuple[Service, ...]]] = Input("services_by_address")
# FQDN -> services that are meant by connections to more than their addresses (External.wide)
WIDE: Final[Input[str, Service]] = Input("wide")
SERVICES_BY_SELECTOR: Final[Input[LabelPair, tuple[Service, ...]]] = Input("services_by_selector")
SLICES_BY_SERVICE: Final[Input[str, tuple[EndpointSlice, ...]]] = Input("slices_by_service")
SLICES_BY_ADDRESS: Final[Input[IPAddress, tuple[EndpointSlice, ...]]] = Input("slices_by_address")
RESOLVED: Final[Input[str, tuple[IPAddress, ...]]] = Input("resolved")  # host name -> what the agent resolved it to
# By host, those with a wildcard under ANY_HOST; the oldest first.
VIRTUAL_SERVICES: Final[Input[str, tuple[VirtualService, ...]]] = Input("virtual_services")
RULES_BY_TARGET: Final[Input[str, tuple[VirtualService, ...]]] = Input("rules_by_target")  # FQDN -> who leads there
DESTINATION_RULES: Final[Input[tuple[str, str], tuple[DestinationRule, ...]]] = Input("destination_rules")
# By host as above: DestinationRules for it that are neither of the host's own namespace nor of the root's.
FOREIGN_RULES: Final[Input[str, tuple[DestinationRule, ...]]] = Input("foreign_rules")
CLIENTS: Final[Input[int, Pod]] = Input("clients")  # netns cookie -> pod of this node that is in the mesh
ANY_HOST: Final = "*"
SIDECARS: Final[Input[str, tuple[Sidecar, ...]]] = Input("sidecars")  # by namespace; the oldest first
MESH_CONFIG: Final[Input[str, MeshConfig]] = Input("mesh_config")  # "": the one in force
# "": EnvoyFilters, those of their patches that Envoy refused, and the namespace whose are for all pods.
FiltersInForce = tuple[tuple[EnvoyFilter, ...], tuple[Patch, ...], str]
ENVOY_FILTERS: Final[Input[str, FiltersInForce]] = Input("envoy_filters")
NUMBERS: Final[Input[str, int]] = Input("numbers")  # name of a service port -> its number (compile/l4/numbers.py)


def host_key(host: str) -> str:
    """Under which key rules for a host are found."""
    return ANY_HOST if host.startswith("*") else host
