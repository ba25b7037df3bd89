"""Configuration for data planes that are not ours: Istio-style sidecars, Envoys started by hand, gRPC without a proxy.

client: who asks, by its node            envoy, listeners, inbound, routes: what an Envoy of a pod gets
served: facts -> resources per client    grpc: what a gRPC channel or server gets      clusters: both
Rules, registry and the emitters of routes and clusters are those of the node (compile/rules.py, compile/envoy).
"""
