/* The engine as its own files see it: engine.c (life, images, sums) and sandboxes.c (listeners). */
#ifndef FP_ENGINE_H
#define FP_ENGINE_H
#include <pthread.h>

#include "fastpath.h"

#include "inbox.h"
#include "sandbox.h"
#include "shared.h"
#include "target.h"

struct fp_engine {
	struct fp_shared shared;
	pthread_mutex_t turn; /* of the callers of this file */
	_Atomic uint64_t generation;
	struct fp_sandbox *sandboxes;
	struct fp_registry targets;
	struct fp_policies *policies; /* that workers judge by; NULL = none were given */
	struct fp_image *retired;     /* replaced, but perhaps in use by a worker */
	bool draining;
	bool *ended;         /* by worker: its thread is gone and reads no message any more */
	_Atomic bool joined; /* all are: no event can come any more */
};

/* Send to every worker and wait until each has dealt with it, or has ended. 0 or the first error of a worker. */
int fp_tell_all(struct fp_engine *engine, struct fp_message message);
#endif
