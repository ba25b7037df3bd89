"""Where configuration comes from. Each source tells what changed, object by object (`base`)."""
