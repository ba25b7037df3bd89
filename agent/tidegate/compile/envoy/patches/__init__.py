"""EnvoyFilters -> changes to what Envoy is told.

    names      what filters were called before, and what each of them is configured by
    values     what somebody wrote as a patch -> proto-JSON of the message that it is for
    merging    one message into another, as protobuf's own merge but for what Istio merges otherwise
    selection  which patches are for which pod, in order
    lists      the filters of a chain, the chains of a listener: put in, taken out, replaced
    listeners, routes, clusters   the patches of each side, applied
    checks     each patch on a resource of its own, for Envoy to judge

A patch that cannot be applied is left out with its reason, and no other one for it. Nothing here knows of pods,
listeners in namespaces or gateways: who makes a resource hands it over with its side (Context) and what matches.
"""
