/* A TCP socket as a stream. What is true of sockets only stays in here: a short read has drained it, MSG_MORE holds bytes
 * back for the end, MSG_PEEK and MSG_TRUNC look and discard, SO_LINGER resets. */
#ifndef FP_STREAM_PLAIN_H
#define FP_STREAM_PLAIN_H
#include "loop.h"
#include "slab.h"
#include "stream.h"

/* Those of one worker. */
struct fp_plains {
	struct fp_loop *loop;
	struct fp_slab slab;
};

void fp_plains_init(struct fp_plains *plains, struct fp_loop *loop);
void fp_plains_clear(struct fp_plains *plains);

/* Takes over a non-blocking socket, also when it fails (then it is reset). connected: else it is connecting. -ENOMEM,
 * -ENOSPC. */
fp_must_check int fp_plain_open(struct fp_plains *plains, int fd, bool connected, struct fp_stream **ret_stream);
/* It was made by connect() and was told nothing yet of how it sends: that is done when it sends for the second time. holds_ack:
 * fp_tcp_hold_ack() was called. */
void fp_plain_dialled(struct fp_stream *stream, bool holds_ack);
/* What the kernel may keep for a connection whose reader does not read is about what it keeps without a relay between:
 * little that is not sent, of a listener for all sockets accepted from it, until the stream is deepened. */
fp_must_check int fp_plain_keep_little(int fd);
/* And a small receive buffer until the stream is widened. After connect() or accept(): the window's scale is chosen by then,
 * which a small buffer would bound for good. */
void fp_plain_narrow(int fd);
/* Reset and close a socket that becomes no stream. */
void fp_plain_refuse(int fd);
#endif
