/* What every file of the engine assumes about the compiler and about single-writer counters. */
#ifndef FP_BASE_H
#define FP_BASE_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define fp_must_check __attribute__((warn_unused_result))
#define FP_CACHELINE 64

/* A counter has one writing thread, so a plain load and store is enough and no bus lock is paid; readers on other
 * threads see some recent value, never a torn one. */
typedef _Atomic uint64_t fp_counter;

static inline void fp_count(fp_counter *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

static inline uint64_t fp_counted(const fp_counter *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}
#endif
