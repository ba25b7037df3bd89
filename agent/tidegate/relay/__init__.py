"""The relay as the agent sees it: layouts, one connection to a process, and the client that outlasts each process."""
