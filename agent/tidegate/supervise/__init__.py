"""Keeps programs running that outlive the agent: Envoy and the relay."""
