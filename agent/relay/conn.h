/* One captured connection: the client's socket, the server's socket, and a stream of bytes in each direction.
 *
 *   accept -> (record? service? endpoint?) -> CONNECTING -> RELAYING -> CLOSED
 *                                              ^   | refused, timed out: another endpoint, FP_ATTEMPTS at most
 *                                              +---+
 * A connection belongs to one worker for life. */
#ifndef FP_CONN_H
#define FP_CONN_H
#include "fastpath.h"

#include "base.h"
#include "buf.h"
#include "list.h"
#include "target.h"

enum fp_side_index { FP_CLIENT = 0, FP_SERVER = 1 };

enum { FP_ATTEMPTS = 3 };

enum fp_conn_state { FP_CONNECTING, FP_RELAYING, FP_CLOSED };

/* A socket as edge-triggered epoll described it last. */
struct fp_side {
	int fd;        /* -1 = none */
	bool readable; /* a read may find something */
	bool writable; /* the last write was not cut short */
	bool hangup;   /* FIN or RST has arrived: read on to the end, however short a read was */
	bool failed;   /* the socket holds an error */
};

/* Bytes from side i to the other side. */
struct fp_stream {
	struct fp_buf *buf; /* holds what the receiver would not take yet; NULL otherwise */
	uint32_t offset, length;
	bool eof;           /* the sender said FIN */
	bool done;          /* and the receiver was told */
	uint64_t bytes;
};

struct fp_sandbox;

struct fp_conn {
	_Alignas(FP_CACHELINE) struct fp_side side[2];
	struct fp_stream stream[2]; /* by sending side */
	uint8_t state;              /* enum fp_conn_state */
	uint8_t tried_count;
	struct fp_node again;       /* in fp_worker.again: budget used up with work left */
	struct fp_node all;         /* in fp_worker.conns, then in fp_worker.dead */
	struct fp_node due;         /* by deadline: in fp_worker.dialling while CONNECTING, in .living while RELAYING */
	struct fp_sandbox *sandbox;
	struct fp_target *tried[FP_ATTEMPTS]; /* the last one is live while CONNECTING or RELAYING */
	struct tg_addr bind_to;     /* the application's own choice of source; unset = the pod's routes choose */
	uint64_t started_ns;        /* CLOCK_MONOTONIC */
	uint64_t deadline_ns;       /* of the current attempt, then of the next report, CLOCK_MONOTONIC */
	bool told;                  /* an event has gone out */
	struct fp_event event;      /* filled as things become known; what the last one told */
};

struct fp_worker;

/* Take over an accepted socket. It is served, or reset and accounted for. */
void fp_conn_open(struct fp_worker *w, struct fp_sandbox *sandbox, int fd, const struct tg_addr *peer,
		  uint16_t peer_port_be);
/* events: what epoll said about one side. */
void fp_conn_ready(struct fp_worker *w, struct fp_conn *conn, enum fp_side_index side, uint32_t events);
void fp_conn_resume(struct fp_worker *w, struct fp_conn *conn);
void fp_conn_timed_out(struct fp_worker *w, struct fp_conn *conn);
/* Tell what is new of a live connection and set the time of the next report. */
void fp_conn_report(struct fp_worker *w, struct fp_conn *conn, uint64_t now_ns);
/* FP_CLOSE_OK says FIN on both sides, any other reason RST. The memory lives until the end of the worker's batch. */
void fp_conn_close(struct fp_worker *w, struct fp_conn *conn, enum fp_reason reason);
#endif
