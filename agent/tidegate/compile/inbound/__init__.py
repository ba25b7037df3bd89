"""What comes to pods of this node: Envoy stands in front of those ports of which a rule asks something of it.

    ports      where a pod listens, by what services say
    listeners  the listener in front of a pod, a filter chain for each port, and the clusters that lead on to it
    filtered   both with the patches for the pod; only ports are left that these change, that a Sidecar says something
               of (ingress, connectionPool), or whose clients begin ISTIO_MUTUAL
    mutual     where that ends

What no rule speaks of reaches the application as without a mesh, and costs nothing.
"""
