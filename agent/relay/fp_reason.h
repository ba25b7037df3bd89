/* Why a relayed connection ended: index of fp_stats.closed; the name is the `reason` label, and what a user reads. This is
 * the one list of them: the enum, the names (reason.c) and what a number means to Python are made from it. Append only. */
#ifndef FP_REASON_H
#define FP_REASON_H
#define FP_REASONS(X)                                                                                                \
	X(OK, "ok") /* both directions finished */                                                                   \
	X(CLIENT_RESET, "client_reset")                                                                              \
	X(SERVER_RESET, "server_reset")                                                                              \
	X(CONNECT_REFUSED, "connect_refused")                                                                        \
	X(CONNECT_TIMEOUT, "connect_timeout")                                                                        \
	X(CONNECT_FAILED, "connect_failed")      /* any other errno of connect */                                    \
	X(NO_RECORD, "no_record")                /* no original destination: somebody dialled the listener itself */ \
	X(NO_SERVICE, "no_service")              /* destination not in the image */                                  \
	X(NO_ENDPOINT, "no_endpoint")            /* service without endpoints */                                     \
	X(NO_MEMORY, "no_memory")                /* a bound was reached: connections, buffers, descriptors */        \
	X(SHUTDOWN, "shutdown")                  /* the relay stopped or the pod was removed */                      \
	X(CLIENT_GONE, "client_gone")            /* the client has closed, the server does not end its direction */  \
	X(MAX_CONNECTIONS, "max_connections")    /* the service has as many as it may (fp_settings) */               \
	X(NO_ROUTE, "no_route")                  /* no rule of the service is for this connection */                 \
	X(IDLE_TIMEOUT, "idle_timeout")          /* nothing moved for as long as its service allows */               \
	X(MAX_DURATION, "max_duration")          /* it was as old as its service allows */                           \
	X(NO_HEALTHY, "no_healthy_endpoint")     /* all endpoints are left out: connecting to them failed */         \
	X(DENY_POLICY, "deny_by_policy")         /* a DENY policy of the pod that was called matches */              \
	X(DENY_NOT_ALLOWED, "deny_not_allowed")  /* it has ALLOW policies, and none of them matches */               \
	X(DENY_UNKNOWN, "deny_unknown_workload") /* nobody said what holds for it */                                 \
	X(DENY_LATE, "deny_late")                /* it was let pass, and what holds now would not */
enum fp_reason {
#define X(name, label) FP_CLOSE_##name,
	FP_REASONS(X)
#undef X
		FP_REASON_COUNT
};
#endif
