"""One supervised Envoy: its bootstrap, its process and cgroup, its admin socket.

The supervisor is the only one that starts or ends Envoy. Envoy survives a killed agent on purpose (live connections go
on); the next agent recognises it by pid, start time, cgroup and launch digest, and adopts it.
"""
