"""Messages that several kinds use."""
