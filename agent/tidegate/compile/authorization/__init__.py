"""Who may connect: PeerAuthentication and AuthorizationPolicy -> policies in one form, and for each pod those that count."""
