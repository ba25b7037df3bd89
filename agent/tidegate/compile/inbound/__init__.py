"""What comes to pods of this node: Envoy stands in front of those ports of which EnvoyFilters change something.

    ports      where a pod listens, by what services say
    listeners  the listener in front of a pod, a filter chain for each port, and the clusters that lead on to it
    filtered   both with the patches for the pod; only ports that these change are left

What no patch changes reaches the application as without a mesh, and costs nothing.
"""
