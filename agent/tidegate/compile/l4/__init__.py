"""What the fast path serves: connections, whatever is in them. Pure."""
