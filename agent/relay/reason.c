/* Names of enum fp_reason: metric label and what a user reads. */
#include "fastpath.h"

#include <stddef.h>

static const char *const names[] = {
	[FP_CLOSE_OK] = "ok",
	[FP_CLOSE_CLIENT_RESET] = "client_reset",
	[FP_CLOSE_SERVER_RESET] = "server_reset",
	[FP_CLOSE_CONNECT_REFUSED] = "connect_refused",
	[FP_CLOSE_CONNECT_TIMEOUT] = "connect_timeout",
	[FP_CLOSE_CONNECT_FAILED] = "connect_failed",
	[FP_CLOSE_NO_RECORD] = "no_record",
	[FP_CLOSE_NO_SERVICE] = "no_service",
	[FP_CLOSE_NO_ENDPOINT] = "no_endpoint",
	[FP_CLOSE_NO_MEMORY] = "no_memory",
	[FP_CLOSE_SHUTDOWN] = "shutdown",
};
_Static_assert(sizeof(names) / sizeof(names[0]) == FP_REASON_COUNT, "a reason lacks its name");
_Static_assert(sizeof(((struct fp_stats *)0)->closed) / sizeof(uint64_t) == FP_REASON_COUNT, "fp_stats.closed");

const char *fp_reason_name(uint32_t reason)
{
	return reason < FP_REASON_COUNT ? names[reason] : "unknown";
}
