"""`tidegate ca`: an authority for nodes, by Istio's API. Who asks, for whom, and what was signed."""
