"""`make bench`: the same two pods, every path interleaved. README.md says what is measured and why so."""
