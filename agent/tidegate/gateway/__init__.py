"""The process of a gateway workload: configuration in, one Envoy at the edge out. It runs in a pod, beside no agent."""
