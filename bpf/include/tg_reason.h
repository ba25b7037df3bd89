/* Every verdict of a kernel program, once. The enum value is the index of the counter in map tg_counters,
 * the lower-case name is the `reason` label of tidegate_verdicts_total and what `tidegate explain` says.
 * Append only: pinned counters survive an upgrade of the agent. */
#ifndef TG_REASON_H
#define TG_REASON_H
#define TG_REASONS(X)                                                                                          \
	X(PASS_NOT_ENROLLED)      /* the socket's netns is no enrolled pod */                                  \
	X(PASS_EXEMPT_CGROUP)     /* the agent or its Envoy made the call */                                   \
	X(PASS_NOT_TCP)           /* only stream sockets are captured */                                       \
	X(PASS_LOOPBACK)          /* localhost of the pod is its own business */                               \
	X(PASS_UNKNOWN)           /* no such destination in the mesh (ALLOW_ANY) */                            \
	X(PASS_WORKLOAD)          /* a pod address that no route concerns: straight to the peer */             \
	X(PASS_BOUND_DEVICE)      /* SO_BINDTODEVICE: the application chose its link */                        \
	X(PASS_NO_V6_CAPTURE)     /* IPv6 is off inside this pod, so there is no capture address */            \
	X(PASS_NO_LISTENER)       /* destination wants a tier whose listener this pod does not have yet */     \
	X(REDIRECT_FASTPATH)      /* sent to the C fast path */                                                \
	X(REDIRECT_ENVOY)         /* sent to Envoy's listener in the pod */                                    \
	X(DENY_CAPTURE_ADDRESS)   /* the application dialled a capture address itself */                       \
	X(DENY_STATE)             /* kernel table full: refused rather than misdirected */                     \
	X(LOOKUP_CAPTURED)        /* sk_lookup: SYN with a recorded original destination */                    \
	X(LOOKUP_DENY_UNRECORDED) /* sk_lookup: SYN to a capture address that no hook recorded: reset */       \
	X(SOCKOPS_RECORDED)       /* original destination keyed by (netns, source) */                          \
	X(SOCKOPS_RECORD_FAILED)  /* the record could not be written */                                        \
	X(SOCKOPT_ORIGINAL_DST)   /* SO_ORIGINAL_DST answered for Envoy */                                     \
	X(SOCKOPT_NO_RECORD)      /* SO_ORIGINAL_DST asked for a connection without a record */                \
	X(NAME_PEER_RESTORED)     /* getpeername told the dialled address */                                   \
	X(NAME_SOCK_RESTORED)     /* getsockname told the pod's address */                                     \
	X(NAME_CLIENT_SHOWN)      /* Envoy's accept/getpeername told the client pod's address */               \
	X(DENY_NO_ENDPOINT)       /* no endpoint of the service is ready: refused, as without a mesh */        \
	X(LISTEN_NOTED)           /* a listener of ours: sk_lookup leads all its capture addresses to it */    \
	X(LISTEN_NOT_NOTED)       /* the kernel would not take it: connections go to its own address */        \
	X(SERVED_DELAYS)          /* a server's socket could not be told to send at once: Linux before 6.1 */  \
	X(UPSTREAM_DELAYS)        /* Envoy's socket could not be told to acknowledge early */                  \
	X(DENY_NOT_IN_REGISTRY)   /* nobody in the registry has the destination (REGISTRY_ONLY) */             \
	X(REDIRECT_DNS)           /* a question on port 53 goes to the node's DNS, or TCP for questions */     \
	X(PASS_DNS_AWAY)          /* nobody answers for the node: to the pod's own resolver */                 \
	X(PASS_DNS_SLOTS)         /* the pod asks too many resolvers: to this one itself */                    \
	X(NAME_DNS_RESTORED)      /* an answer, or getpeername, told the resolver's address */                 \
	X(LOOKUP_DNS)             /* sk_lookup: for a resolver's slot, to the node's DNS */                    \
	X(LOOKUP_DENY_DNS)        /* sk_lookup: for a slot, and nobody is there (any more) */                  \
	X(LOOKUP_INBOUND)         /* sk_lookup: from elsewhere to the pod, by Envoy */                         \
	X(LOOKUP_DENY_INBOUND)    /* sk_lookup: likewise, and Envoy does not listen: reset */                  \
	X(LOOKUP_GUARDED)         /* sk_lookup: to a pod that policies are for, by the relay, which decides */ \
	X(LOOKUP_DENY_GUARDED)    /* sk_lookup: likewise, and the relay does not listen: reset */              \
	X(LOOKUP_PROBE)           /* sk_lookup: the node's probe of such a pod passes */                       \
	X(SOCKOPS_CALLED)         /* whose socket calls such a pod is written down */                          \
	X(SOCKOPS_CALL_FAILED)    /* it could not be written: the caller has no identity */                    \
	X(NAME_CALLER_SHOWN)      /* accept or getpeername told for whom the relay called */
enum tg_reason {
#define X(name) TG_##name,
	TG_REASONS(X)
#undef X
		TG_REASON_COUNT
};
#endif
