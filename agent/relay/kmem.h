/* Kernel memory of the relay's sockets. It is nobody's own: where all of TCP presses on its bound (tcp_mem), every socket of the
 * node feels it. So it is summed over each pod's connections and over all, and a pod has a share as of all else. */
#ifndef FP_KMEM_H
#define FP_KMEM_H
#include "base.h"
#include "stream.h"

/* Of all connections of a relay. */
struct fp_kmem {
	_Alignas(FP_CACHELINE) _Atomic uint64_t bytes;
	uint64_t most;
};

/* A pod may always have so much, whatever others have. */
enum { FP_KMEM_LEAST = 1 << 20 };

/* Bytes that wait in it to be read or to be acknowledged, and what the kernel has set aside for more; 0 of a stream that is no socket. */
uint32_t fp_kmem_of(const struct fp_stream *stream);
/* What one connection was last seen to hold (*held) is now this, in the sum of its pod and in that of all. */
void fp_kmem_set(struct fp_kmem *all, _Atomic uint64_t *pod, uint32_t *held, uint32_t bytes);
/* Whether a pod has no more than its share: twice what is free. */
bool fp_kmem_has_room(const struct fp_kmem *all, const _Atomic uint64_t *pod);
#endif
