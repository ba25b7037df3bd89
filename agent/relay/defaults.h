/* What a relay takes when nothing is said, and never more connections than its descriptors allow. */
#ifndef FP_DEFAULTS_H
#define FP_DEFAULTS_H
#include "relay_abi.h"

enum { FP_WORKERS_MAX = 64 };

/* Fields that are 0 get their default; max_connections is bounded by RLIMIT_NOFILE, less a reserve. */
void fp_fill_defaults(struct fp_config *config);
#endif
