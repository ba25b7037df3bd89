"""A Kubernetes API server as a source.

access: where it is and as whom it is asked -> server: requests to it, one at a time while it is away -> follower: one
kind, listed and then watched -> source: all kinds as one source, with what the last process knew (saved) while the
server is away. resources says which kinds; decode makes documents of objects; stream cuts answers into lines.
"""
