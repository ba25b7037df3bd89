/* One worker: a thread, its epoll, and all that it owns. Nothing here but stats, ring and inbox is for other threads. */
#ifndef FP_WORKER_H
#define FP_WORKER_H
#include <pthread.h>

#include "base.h"
#include "buf.h"
#include "conn.h"
#include "events.h"
#include "image.h"
#include "inbox.h"
#include "lb.h"
#include "netns.h"
#include "sandbox.h"
#include "shared.h"
#include "slab.h"

/* What the low bits of epoll data say about the pointer in the rest. */
enum fp_tag { FP_TAG_CLIENT = FP_CLIENT, FP_TAG_SERVER = FP_SERVER, FP_TAG_WATCH = 2, FP_TAG_INBOX = 3, FP_TAG_MASK = 3 };

struct fp_worker {
	struct fp_shared *shared;
	uint32_t index;
	pthread_t thread;
	int epoll_fd;
	int spare_fd;               /* given up for a moment to accept and refuse when descriptors have run out; -1 = gone */
	struct fp_netns_visit visit;
	struct fp_slab slab;
	struct fp_pool pool;
	struct fp_buf *scratch;     /* for one look at the data when the pool is at its bound */
	struct fp_random random;
	struct fp_node conns, dead, again, dialling, living, backlogs;
	uint64_t accept_after_ns;   /* resources ran out: no accept before */
	bool inbox_ready;
	bool retiring;
	uint64_t retire_at_ns;

	struct fp_worker_stats stats;
	struct fp_ring ring;
	struct fp_tally tally;
	struct fp_inbox inbox;
	/* Hazard pointer: the image in use, not to be freed; NULL between batches. */
	_Alignas(FP_CACHELINE) _Atomic(struct fp_image *) held_image;
};

fp_must_check int fp_worker_start(struct fp_shared *shared, uint32_t index, struct fp_worker **ret_worker);
/* The thread must have got FP_MSG_RETIRE. */
void fp_worker_join(struct fp_worker *w);
void fp_worker_free(struct fp_worker *w);

/* The current image, safe to use until the end of this batch. NULL before the first publish. */
struct fp_image *fp_worker_image(struct fp_worker *w);
fp_must_check int fp_worker_watch(struct fp_worker *w, int fd, void *object, enum fp_tag tag, uint32_t events);

/* Accept what waits in a listener's queue (accept.c). */
void fp_accept(struct fp_worker *w, struct fp_watch *watch);

uint64_t fp_clock_ns(void); /* CLOCK_MONOTONIC */
#endif
