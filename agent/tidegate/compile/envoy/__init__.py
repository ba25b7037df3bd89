"""Pieces of Envoy's configuration that every direction is made of: matches, actions, clusters. Pure."""
