"""Configuration over xDS, delta and state of the world: to the node's Envoy on a unix socket, to others over TCP.

resources (proto-JSON) -> encode: bytes, parsed once per content -> Image, one per generation
Image + what the client says -> session: order, acknowledgements, isolation of bad resources (sans I/O)
delta / sotw: the two dialects of the protocol            server, discovery: gRPC, the only files here that do I/O
"""
