/* One relayed connection: who dialled what, the client's stream, an upstream, and a pipe between them.
 *
 *   open -> CONNECTING -> RELAYING -> CLOSED
 *
 * This file is the only one that changes the state. A connection belongs to one worker at a time: one that is RELAYING may go
 * on with another, and its memory goes back to where it was opened. */
#ifndef FP_CONN_H
#define FP_CONN_H
#include "flow.h"
#include "greet.h"
#include "kmem.h"
#include "life.h"
#include "peer.h"
#include "policy.h"
#include "pipe.h"
#include "report.h"
#include "slab.h"
#include "stats.h"
#include "upstream.h"

struct fp_conn;
struct fp_presence;

enum fp_conn_state { FP_CONNECTING, FP_RELAYING, FP_CLOSED };

/* How often it is asked whether a client that has sent FIN is still there: once a second at first, then seldom. Most
 * that only half-close get their answer at once; who waits for hours costs next to nothing. */
enum { FP_FIRST_WISHES_MS = 1000, FP_FIRST_LOOKS = 4, FP_FIRST_LOOKS_MS = 1000, FP_LATER_LOOKS_MS = 10000 };

/* The connections of one worker and what they stand on. */
struct fp_conns {
	struct fp_loop *loop;
	struct fp_pipes *pipes;
	struct fp_upstreams *upstreams;
	struct fp_reporter *reporter;
	struct fp_worker_stats *stats;
	uint32_t worker; /* whose they are: its place in each sandbox's `presence` */
	struct fp_slab slab;
	struct fp_node live, dead;
	struct fp_task bury;
	struct fp_timers reports; /* when live ones report next */
	struct fp_peers *peers;
	struct fp_kmem *kmem; /* of all workers, or NULL */
	struct fp_records records;
	struct fp_timers first_wishes; /* when options are looked at that were set right after connect(), or are ours */
	struct fp_timers looks[2];     /* at half-closed ones' clients: the first few, and all later ones */
	struct fp_lives lives;
	struct fp_greets greets;
	const struct fp_policies
		*policies; /* what connections to pods are let pass by; NULL = nobody said anything yet: none is */
	struct fp_node judged, unjudged; /* those to pods: by these, and by what was in force before */
	struct fp_task judging;
	/* Or NULL: one has moved next to nothing since it was reported last. It may leave in here. */
	void (*calm)(struct fp_conn *conn);
};

/* What has been told of a connection. */
struct fp_told {
	bool opened;
	uint64_t bytes[2]; /* by sending side */
};

struct fp_conn {
	struct fp_pipe pipe;
	struct fp_conns *conns;
	struct fp_slab *home;     /* whose memory it is */
	struct fp_stream *end[2]; /* NULL: not there yet, or closed */
	enum fp_conn_state state;
	struct fp_node all;        /* in fp_conns.live, then in .dead */
	struct fp_node of_pod;     /* in fp_presence.conns */
	struct fp_node of_verdict; /* to a pod: in fp_conns.judged or .unjudged */
	struct fp_timer report;    /* while RELAYING */
	/* once a second until it is RELAYING, from then on once, and when it half-closes; later with every report */
	struct fp_timer wishes;
	struct fp_timer look; /* while the client has ended its direction and the server has not */
	uint8_t looks;        /* how often, up to FP_FIRST_LOOKS */
	bool halved[2];       /* which side has ended its direction, and the other one not */
	/* a client that is gone was first seen to leave bytes behind; 0 = none did */
	uint64_t gone_ns;
	uint32_t held; /* bytes of kernel memory when it was looked at last */
	struct fp_sandbox *sandbox;
	struct fp_flow flow;
	struct fp_upstream upstream;
	struct fp_greet *greet; /* while it matters what the client says first; NULL = it does not */
	struct fp_life life;    /* while RELAYING */
	uint64_t started_ns;    /* CLOCK_MONOTONIC */
	uint64_t started_at_ns; /* CLOCK_REALTIME */
	struct fp_told told;
	/* to a pod: what was decided last, by policies of which generation; zero = there were none */
	struct fp_policy_decision decision;
	uint64_t policies;
};

/* What one moves at most in the time between two reports if it is called calm. */
enum { FP_CALM_BYTES = 1 << 20 };

void fp_conns_init(struct fp_conns *conns, struct fp_loop *loop);
/* At the end of the worker's thread: what has ended goes back to where its memory is from. */
void fp_conns_bury(struct fp_conns *conns);
/* Frees the memory of all; none may be live. */
void fp_conns_clear(struct fp_conns *conns);

/* Serve a client whose destination is known, on a stream that is the connection's from now on. NULL without memory. It may
 * have been closed when this returns, for a reason that it reported; the memory lives until the next turn of the loop. */
struct fp_conn *fp_conn_open(struct fp_conns *conns, struct fp_sandbox *sandbox, struct fp_stream *client,
			     const struct fp_flow *flow);
/* Reset a client that cannot be served, and report it. */
void fp_conn_refuse(struct fp_conns *conns, struct fp_sandbox *sandbox, struct fp_stream *client,
		    const struct fp_flow *flow, enum fp_reason reason);
/* Whether what holds now lets a connection to a pod pass. If not, it is over. late: it was let pass before. */
bool fp_conn_judge(struct fp_conn *conn, bool late);
/* Other policies are in force from now on, which are somebody else's and have to stay until there are others again: what was let
 * pass before is judged anew, some in each turn of the loop. */
void fp_conns_judge_by(struct fp_conns *conns, const struct fp_policies *policies);
/* What a connection that comes from another thread was judged by may be of before. */
void fp_conn_judge_later(struct fp_conn *conn);
/* After fp_conns_init(), where policies may change while connections live. */
void fp_judging_init(struct fp_conns *conns);
/* Both its ends are there, and a pipe between them. */
bool fp_conn_is_relaying(const struct fp_conn *conn);
/* It is over, for this reason, which is reported. The memory lives until the next turn of the loop. */
void fp_conn_close(struct fp_conn *conn, enum fp_reason reason);
/* Reset so many connections of a pod; whether there are more. */
bool fp_conns_evict(struct fp_presence *presence, int most);
/* Reset all. */
void fp_conns_end(struct fp_conns *conns);
#endif
