/* Two streams joined: the bytes of each go to the other, in order and with back-pressure; so do its end and its death.
 * A pipe neither opens nor closes streams. */
#ifndef FP_PIPE_H
#define FP_PIPE_H
#include "buf.h"
#include "loop.h"
#include "stream.h"

enum fp_side { FP_CLIENT = 0, FP_SERVER = 1 };

/* How a pipe ended: both directions have, or one side died. */
enum fp_pipe_end { FP_PIPE_FINISHED = 0, FP_PIPE_CLIENT_DIED = 1, FP_PIPE_SERVER_DIED = 2 };

struct fp_pipe;

/* What the pipes of one worker share. */
struct fp_pipes {
	struct fp_loop *loop;
	struct fp_pool pool;
	struct fp_buf *scratch; /* for one look at the data when the pool is at its bound */
	struct fp_node waiting; /* for a buffer: pipes whose sender's bytes cannot be looked at */
	fp_counter *bytes;      /* [2] of all pipes, by the side that sent them */
	struct fp_party nobody; /* of pipes that were given none */
	/* Or NULL: a pipe moved what is not small, which its party did more than bulk_most times in a second. It may leave in here. */
	void (*busy)(struct fp_pipe *pipe);
	uint32_t bulk_most;
	uint32_t turn;  /* of the loop, to which `moved` belongs */
	uint32_t moved; /* bytes in this turn, by pipes that had an event */
};

/* Bytes from one side to the other. */
struct fp_way {
	struct fp_buf *buf; /* holds what the receiver would not take yet; NULL otherwise */
	uint32_t offset, length;
	bool urgent;     /* what it holds is one urgent byte */
	bool eof;        /* the sender has ended */
	bool done;       /* and the receiver was told */
	bool proven;     /* the receiver has taken more than the kernels hold: it reads */
	uint32_t latest; /* bytes of the last read */
	uint64_t bytes;  /* taken by the receiver */
};

struct fp_pipe {
	struct fp_stream *end[2];
	struct fp_way way[2]; /* by sending side */
	struct fp_pipes *pipes;
	struct fp_party *party;
	struct fp_task again;   /* its turn was over with work left */
	bool is_busy;           /* to be told at its next turn */
	struct fp_node waiting; /* in fp_pipes.waiting */
	/* Or NULL: the end of one direction was passed on, the other goes on. Nothing may be ended in here. */
	void (*halved)(struct fp_pipe *pipe, enum fp_side from);
	/* The pipe has stopped by itself; it may be freed in here, the streams closed. */
	void (*ended)(struct fp_pipe *pipe, enum fp_pipe_end how);
};

/* buffer_bytes: of one read; buffers: how many there may be. bytes: [2]. -ENOMEM. */
fp_must_check int fp_pipes_init(struct fp_pipes *pipes, struct fp_loop *loop, uint32_t buffer_bytes, uint32_t buffers,
				fp_counter *bytes);
void fp_pipes_clear(struct fp_pipes *pipes);

/* Both streams are open; the pipe is their user from now on. It may end in here. party: NULL = nobody's in particular. halved may
 * be NULL. */
void fp_pipe_start(struct fp_pipe *pipe, struct fp_pipes *pipes, struct fp_party *party, struct fp_stream *client,
		   struct fp_stream *server, void (*halved)(struct fp_pipe *, enum fp_side),
		   void (*ended)(struct fp_pipe *, enum fp_pipe_end));
/* Whether no byte of it is in memory of this worker, so that it can go on with another. */
bool fp_pipe_is_empty(const struct fp_pipe *pipe);
/* It is not to be touched by its worker's loop any more ... */
void fp_pipe_leave(struct fp_pipe *pipe);
/* ... and is one of another worker's, on whose thread this is, and has its turn soon. */
void fp_pipe_join(struct fp_pipe *pipe, struct fp_pipes *pipes, struct fp_party *party);
/* Bytes that the receiver has not taken are gone. Once or more often, before the streams are closed. */
void fp_pipe_stop(struct fp_pipe *pipe);
#endif
