/* Listeners of one worker: taking what waits in their queues, also when descriptors or memory have run out. */
#ifndef FP_ACCEPT_H
#define FP_ACCEPT_H
#include "addr.h"
#include "loop.h"

struct fp_sandbox;
struct fp_acceptor;

/* One worker's interest in one listener; only that worker touches it once it is watched. */
struct fp_watch {
	struct fp_source source; /* fd -1: no such listener */
	struct fp_lane *lane;    /* of the pod */
	struct fp_task more;     /* connections may wait in its queue that epoll does not mention again */
	struct fp_node starved;  /* in fp_acceptor.starved */
	struct fp_sandbox *sandbox;
	struct fp_acceptor *acceptor;
};

struct fp_acceptor {
	struct fp_loop *loop;
	/* given up for a moment to accept and refuse when descriptors have run out; -1 = gone */
	int spare_fd;
	struct fp_node starved; /* resources ran out: watches to go on with after a pause */
	struct fp_timers timers;
	struct fp_timer pause;
	/* A connection to be served; the descriptor is the callee's. */
	void (*accepted)(struct fp_acceptor *acceptor, struct fp_watch *watch, int fd, const union fp_sockaddr *peer);
	/* A connection was reset because descriptors have run out. */
	void (*shed)(struct fp_acceptor *acceptor);
};

/* accepted and shed are set already. Negative errno without a descriptor. */
fp_must_check int fp_acceptor_open(struct fp_acceptor *acceptor, struct fp_loop *loop);
void fp_acceptor_close(struct fp_acceptor *acceptor);

void fp_watch_init(struct fp_watch *watch, struct fp_sandbox *sandbox, struct fp_lane *lane, int listener_fd);
fp_must_check int fp_watch_start(struct fp_watch *watch, struct fp_acceptor *acceptor);
/* Also of one that was never started. */
void fp_watch_stop(struct fp_watch *watch);
/* Take what waits in the queue although nothing announced it. Nothing if it is not watched. */
void fp_watch_look(struct fp_watch *watch);
#endif
