/* Things of one size and one worker: grown in chunks, reused last in first out, freed together. */
#ifndef FP_SLAB_H
#define FP_SLAB_H
#include "base.h"

struct fp_slab {
	struct fp_slab_chunk *chunks;
	struct fp_slab_free *free;
	size_t size;
};

/* size: of each; they are aligned to cache lines. */
void fp_slab_init(struct fp_slab *slab, size_t size);
/* NULL without memory. The content is undefined. */
void *fp_slab_take(struct fp_slab *slab);
void fp_slab_give(struct fp_slab *slab, void *thing);
void fp_slab_clear(struct fp_slab *slab);
#endif
