/* All that one worker has: a thread, its loop, and what stands on it. Nothing here but stats, ring, inbox and hold is for other
 * threads. */
#ifndef FP_DESK_H
#define FP_DESK_H
#include <pthread.h>

#include "accept.h"
#include "conn.h"
#include "dial.h"
#include "events.h"
#include "hold.h"
#include "inbox.h"
#include "netns.h"
#include "pipe.h"
#include "report.h"
#include "shared.h"
#include "stats.h"
#include "stream_plain.h"
#include "upstream.h"

struct fp_worker {
	struct fp_shared *shared;
	uint32_t index; /* from config.workers on: a carrier, which accepts nothing and gets what is busy */
	pthread_t thread;

	struct fp_loop loop;
	struct fp_plains plains;
	struct fp_pipes pipes;
	struct fp_netns_visit visit;
	struct fp_plain_dialer dialer;
	struct fp_upstreams upstreams;
	struct fp_reporter reporter;
	struct fp_peers peers;
	struct fp_conns conns;
	struct fp_acceptor acceptor;
	struct fp_source messages; /* the inbox */
	struct fp_task unread;     /* it may hold more than one turn's worth */
	struct fp_timers timers;
	struct fp_timer deadline; /* of a worker that retires */
	bool retiring;

	struct fp_worker_stats stats;
	struct fp_ring ring;
	struct fp_inbox inbox;
	struct fp_hold hold;
};

/* Whether it is one of those that accept nothing and are given what is busy. */
static inline bool fp_is_carrier(const struct fp_worker *w)
{
	return w->index >= w->shared->config.workers;
}

/* Live connections of all workers. One that is closed elsewhere than it was opened may be seen to go before it was seen to come. */
static inline uint32_t fp_active_of_all(const struct fp_shared *shared)
{
	uint32_t sum = 0;
	for (uint32_t i = 0; i < shared->count; i++)
		sum += fp_active(&shared->workers[i]->stats);
	return sum > INT32_MAX ? 0 : sum;
}
#endif
