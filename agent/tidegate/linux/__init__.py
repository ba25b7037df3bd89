"""What the kernel offers to a process without BPF: namespaces, control groups, capabilities, links, process identity.

Each module speaks to one interface of Linux and knows nothing of the mesh.
"""
