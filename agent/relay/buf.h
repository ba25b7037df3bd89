/* Buffers of one worker: taken while bytes wait for a slow reader, given back when they are gone. */
#ifndef FP_BUF_H
#define FP_BUF_H
#include "base.h"
#include "loop.h"

/* Who shares a worker with others: one pod. What its work and its waiting bytes may take from them. */
struct fp_party {
	struct fp_lane lane;
	uint32_t buffers;  /* that it holds */
	uint64_t since_ns; /* begin of a second, in which ... */
	uint32_t bulk;     /* ... bytes of it that were not small were moved so often */
	uint32_t turn;     /* of the loop, in which ... */
	uint32_t asked;    /* ... so many of its pipes were looked at for something small */
};

struct fp_buf {
	struct fp_buf *next; /* while free */
	char data[];
};

struct fp_pool {
	struct fp_buf *free;
	uint32_t free_count;
	uint32_t made;   /* free and in use */
	uint32_t most;   /* bound of made */
	uint32_t size;   /* bytes of data in each */
	uint32_t spare;  /* fewest free buffers seen in the current window */
	uint32_t window; /* gives left in it */
};

void fp_pool_init(struct fp_pool *pool, uint32_t size, uint32_t most);
void fp_party_init(struct fp_party *party);
/* The most recently given buffer, so it is still in the cache; NULL at the bound, at the party's share unless that does
 * not matter (`beyond`), or without memory. */
struct fp_buf *fp_pool_take(struct fp_pool *pool, struct fp_party *party, bool beyond);
/* Whether take would find one, if there is memory. */
static inline bool fp_pool_has(const struct fp_pool *pool)
{
	return pool->free || pool->made < pool->most;
}
void fp_pool_give(struct fp_pool *pool, struct fp_party *party, struct fp_buf *buf);
void fp_pool_clear(struct fp_pool *pool);
#endif
