#include "slab.h"

#include <stdlib.h>

enum { FP_CHUNK_CONNS = 128 };

struct fp_slab_chunk {
	struct fp_slab_chunk *next;
	struct fp_conn conns[FP_CHUNK_CONNS];
};

/* A free connection is chained by its first list node. */
static struct fp_conn *next_of(const struct fp_conn *conn)
{
	return (struct fp_conn *)(void *)conn->all.next;
}

struct fp_conn *fp_slab_take(struct fp_slab *slab)
{
	if (!slab->free) {
		struct fp_slab_chunk *chunk = aligned_alloc(_Alignof(struct fp_slab_chunk), sizeof(*chunk));
		if (!chunk)
			return NULL;
		chunk->next = slab->chunks;
		slab->chunks = chunk;
		for (int i = FP_CHUNK_CONNS - 1; i >= 0; i--)
			fp_slab_give(slab, &chunk->conns[i]);
	}
	struct fp_conn *conn = slab->free;
	slab->free = next_of(conn);
	return conn;
}

void fp_slab_give(struct fp_slab *slab, struct fp_conn *conn)
{
	conn->all.next = (struct fp_node *)(void *)slab->free;
	slab->free = conn;
}

void fp_slab_clear(struct fp_slab *slab)
{
	while (slab->chunks) {
		struct fp_slab_chunk *chunk = slab->chunks;
		slab->chunks = chunk->next;
		free(chunk);
	}
	slab->free = NULL;
}
