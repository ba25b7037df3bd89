/* Everything that more than one thread of the engine touches, in one place to audit. Fields without _Atomic are set
 * before the workers start and never change. No locks: workers meet only in atomics and in each other's inboxes. */
#ifndef FP_SHARED_H
#define FP_SHARED_H
#include "fastpath.h"

#include "base.h"
#include "events.h"
#include "kmem.h"

struct fp_worker;

/* Workers that accept, and as many behind them that take what is busy off their hands. */
enum { FP_ROLES = 2 };

struct fp_shared {
	struct fp_config config; /* defaults filled in */
	uint32_t count;          /* of all workers: config.workers that accept, and behind them as many carriers */
	struct fp_worker **workers;
	struct fp_bell bell;
	struct fp_kmem kmem;
	_Alignas(FP_CACHELINE) _Atomic(struct fp_image *) image; /* swapped by the control thread */
};
#endif
