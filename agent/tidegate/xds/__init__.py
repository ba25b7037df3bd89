"""Envoy's configuration over ADS, delta and state of the world, on a unix socket.

resources (proto-JSON) -> encode: bytes, parsed once per content -> Image, one per generation
Image + what the client says -> session: order, acknowledgements, isolation of bad resources (sans I/O)
delta / sotw: the two dialects of the protocol            server: gRPC, the only file here that does I/O
"""
