"""Certificates of this node's workloads: who issues them, and how long each is good."""
