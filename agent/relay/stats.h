/* Counters of one worker: written by it, read by all. */
#ifndef FP_STATS_H
#define FP_STATS_H
#include "base.h"
#include "fp_reason.h"

struct fp_worker_stats {
	_Alignas(FP_CACHELINE) _Atomic uint32_t
		active;         /* opened less closed here: of all workers together it is right */
	_Atomic uint32_t moved; /* come from other workers less gone to them */
	fp_counter accepted;
	fp_counter bytes[2]; /* by the side that sent them (enum fp_side) */
	fp_counter closed[FP_REASON_COUNT];
};

static inline uint32_t fp_active(const struct fp_worker_stats *stats)
{
	return atomic_load_explicit(&stats->active, memory_order_relaxed);
}

/* Connections that the worker has now. */
static inline uint32_t fp_present(const struct fp_worker_stats *stats)
{
	return fp_active(stats) + atomic_load_explicit(&stats->moved, memory_order_relaxed);
}

/* By the worker itself, as the next. */
static inline void fp_active_add(struct fp_worker_stats *stats, int n)
{
	atomic_store_explicit(&stats->active, fp_active(stats) + (uint32_t)n, memory_order_relaxed);
}

static inline void fp_moved_add(struct fp_worker_stats *stats, int n)
{
	uint32_t moved = atomic_load_explicit(&stats->moved, memory_order_relaxed);
	atomic_store_explicit(&stats->moved, moved + (uint32_t)n, memory_order_relaxed);
}
#endif
