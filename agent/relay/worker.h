/* One worker: a thread, its loop, and all that it owns, put together. Nothing here but stats, ring, inbox and hold is for
 * other threads. */
#ifndef FP_WORKER_H
#define FP_WORKER_H
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
	uint32_t index;
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

fp_must_check int fp_worker_start(struct fp_shared *shared, uint32_t index, struct fp_worker **ret_worker);
/* The thread must have got FP_MSG_RETIRE. */
void fp_worker_join(struct fp_worker *w);
void fp_worker_free(struct fp_worker *w);
#endif
