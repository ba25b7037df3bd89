"""What traffic did: connections told by the data plane become Istio's metrics, an access log and pairs of workloads."""
