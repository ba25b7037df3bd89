#include "buf.h"

#include <stdlib.h>

/* A window is long enough for steady traffic to touch all buffers that it needs, so that trimming never frees what
 * would be allocated again at once. */
enum {
	FP_POOL_WINDOW = 65536,
	FP_SHARE = 2 /* a party holds at most so many times the buffers that are free: see worker.c */
};

void fp_party_init(struct fp_party *party)
{
	fp_lane_init(&party->lane);
	party->buffers = 0;
	party->since_ns = 0;
	party->bulk = 0;
	party->turn = party->asked = 0;
}

void fp_pool_init(struct fp_pool *pool, uint32_t size, uint32_t most)
{
	*pool = (struct fp_pool){ .size = size, .most = most, .window = FP_POOL_WINDOW };
}

struct fp_buf *fp_pool_take(struct fp_pool *pool, struct fp_party *party, bool beyond)
{
	struct fp_buf *buf = pool->free;
	if (!beyond && party->buffers >= FP_SHARE * (pool->free_count + pool->most - pool->made))
		return NULL;
	if (buf) {
		party->buffers++;
		pool->free = buf->next;
		pool->free_count--;
		if (pool->free_count < pool->spare)
			pool->spare = pool->free_count;
		return buf;
	}
	pool->spare = 0;
	if (pool->made >= pool->most)
		return NULL;
	buf = malloc(sizeof(*buf) + pool->size);
	if (buf) {
		pool->made++;
		party->buffers++;
	}
	return buf;
}

static void free_some(struct fp_pool *pool, uint32_t count)
{
	while (count-- && pool->free) {
		struct fp_buf *buf = pool->free;
		pool->free = buf->next;
		pool->free_count--;
		pool->made--;
		free(buf);
	}
}

void fp_pool_give(struct fp_pool *pool, struct fp_party *party, struct fp_buf *buf)
{
	party->buffers--;
	buf->next = pool->free;
	pool->free = buf;
	pool->free_count++;
	if (--pool->window == 0) {
		/* `spare` buffers lay idle through the whole window: give half back, so a burst fades in a few windows. */
		free_some(pool, pool->spare / 2);
		pool->window = FP_POOL_WINDOW;
		pool->spare = pool->free_count;
	}
}

void fp_pool_clear(struct fp_pool *pool)
{
	free_some(pool, pool->free_count);
}
