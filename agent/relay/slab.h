/* Things of one size and one worker: grown in chunks, reused last in first out, freed together. Another worker may have come to
 * hold one; it goes back to where it is from. */
#ifndef FP_SLAB_H
#define FP_SLAB_H
#include "base.h"

struct fp_slab {
	struct fp_slab_chunk *chunks;
	struct fp_slab_free *free;
	size_t size;
	_Alignas(FP_CACHELINE) _Atomic(struct fp_slab_free *) returned; /* by other threads, to be taken all at once */
};

/* size: of each; they are aligned to cache lines. */
void fp_slab_init(struct fp_slab *slab, size_t size);
/* NULL without memory. The content is undefined. */
void *fp_slab_take(struct fp_slab *slab);
void fp_slab_give(struct fp_slab *slab, void *thing);
/* The same from any other thread, without a lock; the worker finds it when it has none free. */
void fp_slab_return(struct fp_slab *slab, void *thing);
void fp_slab_clear(struct fp_slab *slab);
#endif
