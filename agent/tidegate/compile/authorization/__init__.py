"""Who may connect: PeerAuthentication and AuthorizationPolicy -> policies in one form, and each pod's own."""
