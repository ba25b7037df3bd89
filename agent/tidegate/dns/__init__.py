"""The node's DNS: names of the registry for enrolled pods, in a process of its own. README.md says why and how."""
