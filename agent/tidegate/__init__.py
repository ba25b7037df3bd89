"""Tidegate: the node agent that makes a service mesh disappear into the kernel."""

__version__ = "0.1.0"
