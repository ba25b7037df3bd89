"""Gateways: what the Envoy of a workload at the edge of the mesh has to know. Captured pods are no business of it."""
