/* Connections of one worker: grown in chunks, reused last in first out, freed with the worker. */
#ifndef FP_SLAB_H
#define FP_SLAB_H
#include "base.h"
#include "conn.h"

struct fp_slab_chunk;

struct fp_slab {
	struct fp_slab_chunk *chunks;
	struct fp_conn *free;
};

/* NULL without memory. The content is undefined. */
struct fp_conn *fp_slab_take(struct fp_slab *slab);
void fp_slab_give(struct fp_slab *slab, struct fp_conn *conn);
void fp_slab_clear(struct fp_slab *slab);
#endif
