"""The kinds that the mesh reads. KINDS is the only list of them.

To add a kind:

1. Write `kinds/NAME.py` after the pattern of `namespace.py` (small) or `destination_rule.py`: a model of its shape
   (ApiModel; camelCase is made from the field names; `ignored` names fields without effect on a mesh, `unsupported`
   those whose effect we do not have yet), a value for `model/`, and `read(shape, place, report)` from one to the
   other. What is wrong is said with a row of `config/messages.py`, so that it has a code; fields keep Istio's names,
   in snake case.
2. If others may refer to it: `provides(value)` gives topics, such as ("service", full name). If it refers to others:
   `looks_at(value)` gives the topics on which the findings of `check(value, links)` depend, and nothing else may decide
   about them: `check` is called again only when one of these changes.
3. Put the Kind into the tuple below and its shelf (a tuple of values) into `model.mesh.Mesh`. Take its name out of
   LATER.
4. Say in `docs/fields.md` what becomes of each field, and set those that do something in `tests/vectors/fields`.
5. Prove it: a file in `tests/vectors/documents` with the findings at their lines, a test of what reaches the model in
   `tests/unit/config`.
"""

from __future__ import annotations

from collections.abc import Mapping

from tidegate.config.kinds.authorization_policy import AUTHORIZATION_POLICY
from tidegate.config.kinds.base import Kind
from tidegate.config.kinds.deployment import DEPLOYMENT
from tidegate.config.kinds.destination_rule import DESTINATION_RULE
from tidegate.config.kinds.endpoint_slice import ENDPOINT_SLICE
from tidegate.config.kinds.endpoints import ENDPOINTS
from tidegate.config.kinds.envoy_filter import ENVOY_FILTER
from tidegate.config.kinds.gateway import GATEWAY
from tidegate.config.kinds.inert import INERT, LATER
from tidegate.config.kinds.mesh_config import CONFIG_MAP
from tidegate.config.kinds.namespace import NAMESPACE
from tidegate.config.kinds.node import NODE
from tidegate.config.kinds.peer_authentication import PEER_AUTHENTICATION
from tidegate.config.kinds.pod import POD
from tidegate.config.kinds.proxy_config import PROXY_CONFIG
from tidegate.config.kinds.secret import SECRET
from tidegate.config.kinds.service import SERVICE
from tidegate.config.kinds.service_entry import SERVICE_ENTRY
from tidegate.config.kinds.sidecar import SIDECAR
from tidegate.config.kinds.virtual_service import VIRTUAL_SERVICE
from tidegate.config.kinds.workload_entry import WORKLOAD_ENTRY
from tidegate.config.kinds.workload_group import WORKLOAD_GROUP

KINDS: Mapping[tuple[str, str], Kind] = {
    (kind.group, kind.name): kind
    for kind in (
        NAMESPACE,
        NODE,
        POD,
        DEPLOYMENT,
        SERVICE,
        ENDPOINT_SLICE,
        ENDPOINTS,
        VIRTUAL_SERVICE,
        DESTINATION_RULE,
        SERVICE_ENTRY,
        WORKLOAD_ENTRY,
        WORKLOAD_GROUP,
        GATEWAY,
        SECRET,
        ENVOY_FILTER,
        SIDECAR,
        PROXY_CONFIG,
        PEER_AUTHENTICATION,
        AUTHORIZATION_POLICY,
        CONFIG_MAP,
        *INERT,
    )
}

__all__ = ["KINDS", "LATER", "Kind"]
