"""EnvoyFilter: what reaches the model, in today's spelling and in that of Istio 1.0."""

from __future__ import annotations

from textwrap import dedent, indent

import pytest
from tests.support.configs import Texts, mesh_of

from tidegate.config.store import Store
from tidegate.model.envoy_filter import ApplyTo, ChainProtocol, Context, EnvoyFilter, Patch, PatchOperation
from tidegate.model.mesh import Mesh
from tidegate.model.verdict import Verdict

HEAD = """\
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: f, namespace: shop}
spec:
"""


def told(spec: str) -> Mesh:
    return mesh_of({"f.yaml": HEAD + indent(dedent(spec), "  ")})


def read(spec: str) -> EnvoyFilter:
    mesh = told(spec)
    assert not [str(p) for p in mesh.problems if p.is_error]
    [made] = mesh.envoy_filters
    return made


def patch(spec: str) -> Patch:
    [made] = read(spec).patches
    return made


def codes(spec: str) -> list[tuple[str, str]]:
    return [(p.code, p.path) for p in told(spec).problems]


def legacy(position: str, kind: str = "HTTP", match: str = "{}") -> Patch:
    return patch(
        f"""
    filters:
    - filterName: envoy.lua
      filterType: {kind}
      listenerMatch: {match}
      insertPosition: {position}
      filterConfig: {{}}
    """.replace("envoy.lua", "envoy.lua" if kind == "HTTP" else "envoy.echo")
    )


@pytest.mark.api(
    "EnvoyFilter.Filter.insertPosition",
    "EnvoyFilter.InsertPosition.index",
    "EnvoyFilter.InsertPosition.relativeTo",
    "EnvoyFilter.InsertPosition.Index.FIRST",
    "EnvoyFilter.InsertPosition.Index.LAST",
    "EnvoyFilter.InsertPosition.Index.BEFORE",
    "EnvoyFilter.InsertPosition.Index.AFTER",
)
@pytest.mark.parametrize(
    ("position", "operation"),
    [
        ("{}", PatchOperation.INSERT_FIRST),
        ("{index: FIRST}", PatchOperation.INSERT_FIRST),
        ("{index: LAST}", PatchOperation.ADD),
        ("{index: BEFORE, relativeTo: envoy.router}", PatchOperation.INSERT_BEFORE),
        ("{index: AFTER, relativeTo: envoy.router}", PatchOperation.INSERT_AFTER),
    ],
)
def test_the_positions_of_istio_1_0_are_operations_of_today(position: str, operation: PatchOperation) -> None:
    made = legacy(position)
    assert (made.apply_to, made.operation) == (ApplyTo.HTTP_FILTER, operation)
    assert made.value["name"] == "envoy.filters.http.lua"
    assert made.value["typed_config"]["@type"] == "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"


def test_what_a_listener_match_of_istio_1_0_says_is_kept() -> None:
    match = "{portNumber: 8080, portNamePrefix: Mongo, listenerProtocol: TCP, address: [10.0.0.0/8, 192.0.2.1]}"
    made = legacy("{index: BEFORE, relativeTo: envoy.tcp_proxy}", "NETWORK", match)
    assert made.apply_to is ApplyTo.NETWORK_FILTER
    listener = made.listener
    assert listener is not None
    assert (listener.port, listener.port_name, listener.protocol) == (8080, "Mongo", ChainProtocol.TCP)
    assert [str(n) for n in listener.addresses] == ["10.0.0.0/8", "192.0.2.1/32"]
    assert listener.filter == "envoy.tcp_proxy"


def test_labels_of_istio_1_0_select_and_the_smaller_reach_of_today_is_told() -> None:
    spec = """
    workloadLabels: {app: reviews}
    filters: [{filterName: envoy.lua, filterType: HTTP, filterConfig: {inlineCode: "--"}}]
    """
    assert read(spec).labels == {"app": "reviews"}
    assert codes(spec) == [("TG0119", "spec.filters"), ("TG0454", "spec.filters")]


def test_a_patch_has_its_message_in_one_spelling() -> None:
    made = patch("""
    priority: 5
    workloadSelector: {labels: {app: a}}
    configPatches:
    - applyTo: CLUSTER
      match: {context: SIDECAR_OUTBOUND, cluster: {portNumber: 80, service: Web.Shop.svc, subset: v1, name: n}}
      patch: {operation: MERGE, value: {connectTimeout: 1.5s, circuit_breakers: {thresholds: [{maxRetries: 3}]}}}
    """)
    assert made.value == {"connect_timeout": "1.500s", "circuit_breakers": {"thresholds": [{"max_retries": 3}]}}
    assert made.cluster is not None
    assert (made.cluster.port, made.cluster.service, made.cluster.subset) == (80, "web.shop.svc", "v1")
    assert made.context is Context.SIDECAR_OUTBOUND
    assert made.origin.line == 9


def test_a_struct_that_names_its_message_is_that_message() -> None:
    made = patch("""
    configPatches:
    - applyTo: HTTP_FILTER
      patch:
        operation: INSERT_FIRST
        value:
          name: b
          typed_config:
            "@type": type.googleapis.com/udpa.type.v1.TypedStruct
            type_url: type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer
            value: {maxRequestBytes: 7}
    """)
    assert made.value["typed_config"]["max_request_bytes"] == 7
    assert made.value["typed_config"]["@type"].endswith("buffer.v3.Buffer")


REFUSED = {
    "no such field": ("CLUSTER", "{operation: MERGE, value: {conectTimeout: 1s}}", "TG0451"),
    "no such message": (
        "HTTP_FILTER",
        '{operation: ADD, value: {name: a, typed_config: {"@type": type.googleapis.com/envoy.config.no.v2.Such}}}',
        "TG0451",
    ),
    "no value": ("CLUSTER", "{operation: MERGE}", "TG0102"),
    "a filter without a name": ("HTTP_FILTER", "{operation: ADD, value: {disabled: true}}", "TG0453"),
    "a place where there is no list": ("CLUSTER", "{operation: INSERT_FIRST, value: {name: a}}", "TG0452"),
}


@pytest.mark.parametrize(("apply_to", "body", "code"), REFUSED.values(), ids=REFUSED)
def test_what_no_envoy_could_use_is_an_error_at_its_line(apply_to: str, body: str, code: str) -> None:
    mesh = told(f"""
    configPatches:
    - applyTo: {apply_to}
      patch: {body}
    """)
    found = [p for p in mesh.problems if p.code == code]
    assert found, [str(p) for p in mesh.problems]
    assert found[0].line == 8
    assert not mesh.envoy_filters


IDLE = {
    "applyTo: BOOTSTRAP": "spec.configPatches[0].applyTo",
    "applyTo: CLUSTER\n      match: {context: WAYPOINT}": "spec.configPatches[0].match.context",
}


@pytest.mark.parametrize(("words", "path"), IDLE.items(), ids=IDLE)
def test_a_patch_that_does_nothing_here_says_so_and_the_others_stay(words: str, path: str) -> None:
    spec = f"""
    configPatches:
    - {words}
      patch: {{operation: MERGE, value: {{name: a}}}}
    - applyTo: CLUSTER
      patch: {{operation: MERGE, value: {{connect_timeout: 1s}}}}
    """
    assert codes(spec) == [("TG0121", path)]
    assert [p.index for p in read(spec).patches] == [1]


def test_a_filter_for_gateways_of_another_api_is_for_nobody() -> None:
    spec = """
    targetRefs: [{kind: Gateway, name: g}]
    configPatches: [{applyTo: CLUSTER, patch: {operation: MERGE, value: {connect_timeout: 1s}}}]
    """
    assert codes(spec) == [("TG0121", "spec.targetRefs")]
    assert not told(spec).envoy_filters


def test_the_order_is_priority_then_the_root_namespace_then_age_then_name() -> None:
    text = "".join(
        f"""\
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: {name}, namespace: {namespace}{created}}}
spec: {{priority: {priority}}}
"""
        for name, namespace, priority, created in (
            ("late", "shop", 1, ""),
            ("b", "shop", 0, ', creationTimestamp: "2026-01-02T00:00:00Z"'),
            ("a", "shop", 0, ', creationTimestamp: "2026-01-02T00:00:00Z"'),
            ("old", "shop", 0, ', creationTimestamp: "2026-01-01T00:00:00Z"'),
            ("root", "istio-system", 0, ', creationTimestamp: "2026-01-03T00:00:00Z"'),
            ("first", "shop", -1, ""),
        )
    )
    found = sorted(mesh_of({"f.yaml": text}).envoy_filters, key=lambda one: one.order())
    assert [one.name for one in found][:3] == ["first", "root", "old"]
    assert [one.name for one in found][-1] == "late"


def test_who_a_filter_is_for() -> None:
    mine = EnvoyFilter(namespace="shop", name="f", labels={"app": "a"})
    assert mine.concerns("shop", {"app": "a", "x": "y"})
    assert not mine.concerns("shop", {"app": "b"})
    assert not mine.concerns("other", {"app": "a"})
    assert EnvoyFilter(namespace="istio-system", name="f").concerns("other", {})
    assert EnvoyFilter(namespace="base", name="f").concerns("other", {}, root="base"), "MeshConfig's rootNamespace"
    assert not EnvoyFilter(namespace="istio-system", name="f").concerns("other", {}, root="base")


def test_a_refused_patch_is_left_out_until_it_is_another_one() -> None:
    spec = """
    configPatches:
    - {applyTo: CLUSTER, patch: {operation: MERGE, value: {connect_timeout: 1s}}}
    - {applyTo: CLUSTER, patch: {operation: MERGE, value: {connect_timeout: 2s}}}
    """
    texts, store = Texts(), Store()
    mesh = store.apply(0, texts.say({"f.yaml": HEAD + indent(dedent(spec), "  ")}))
    first, second = mesh.envoy_filters[0].patches
    refused = store.judge([Verdict(first, "no"), Verdict(second)])
    assert refused.refused_patches == (first,)
    assert refused.envoy_filters is mesh.envoy_filters, "the filter itself stays in force"
    assert store.judge([Verdict(first, "no")]) is refused
    changed = dedent(spec).replace("1s", "3s")
    assert store.apply(0, texts.say({"f.yaml": HEAD + indent(changed, "  ")})).refused_patches == ()
    assert store.judge([Verdict(first)]).refused_patches == ()
