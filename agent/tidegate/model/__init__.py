"""Nouns of the mesh: frozen values, standard library only, no I/O."""
