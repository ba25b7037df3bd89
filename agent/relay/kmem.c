#include "kmem.h"

#include <linux/sock_diag.h>
#include <sys/socket.h>

enum { FP_SHARE = 2 /* see placing.c */ };

uint32_t fp_kmem_of(const struct fp_stream *stream)
{
	uint32_t info[SK_MEMINFO_VARS] = { 0 };
	socklen_t size = sizeof(info);
	if (!stream || !stream->ops->socket ||
	    getsockopt(stream->ops->socket(stream), SOL_SOCKET, SO_MEMINFO, info, &size))
		return 0;
	/* What is set aside may be below nothing for a moment. */
	uint32_t aside = info[SK_MEMINFO_FWD_ALLOC] > INT32_MAX ? 0 : info[SK_MEMINFO_FWD_ALLOC];
	return info[SK_MEMINFO_RMEM_ALLOC] + info[SK_MEMINFO_WMEM_QUEUED] + aside;
}

void fp_kmem_set(struct fp_kmem *all, _Atomic uint64_t *pod, uint32_t *held, uint32_t bytes)
{
	if (bytes == *held)
		return; /* most hold nothing, and share no cache line over it */
	uint64_t more = (uint64_t)bytes - *held;
	atomic_fetch_add_explicit(pod, more, memory_order_relaxed);
	if (all)
		atomic_fetch_add_explicit(&all->bytes, more, memory_order_relaxed);
	*held = bytes;
}

bool fp_kmem_has_room(const struct fp_kmem *all, const _Atomic uint64_t *pod)
{
	uint64_t own = atomic_load_explicit(pod, memory_order_relaxed);
	if (!all || own <= FP_KMEM_LEAST)
		return true;
	uint64_t total = atomic_load_explicit(&all->bytes, memory_order_relaxed);
	return total < all->most && own < FP_SHARE * (all->most - total);
}
