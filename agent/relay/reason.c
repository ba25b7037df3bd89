#include "fastpath.h"

static const char *const names[] = {
#define X(name, label) label,
	FP_REASONS(X)
#undef X
};

const char *fp_reason_name(uint32_t reason)
{
	return reason < FP_REASON_COUNT ? names[reason] : "unknown";
}
