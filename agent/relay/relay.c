/* Per wake-up: one read, one write, nothing else. A short read means that the socket is drained, so it is not read again
 * before epoll reports a new edge; a short write means that it is full. No epoll_ctl after the connection is set up. */
#include "relay.h"

#include <errno.h>
#include <sys/socket.h>

#include "worker.h"

/* Buffers' worth of bytes moved before other connections get their turn. */
enum { FP_BUDGET = 16 };

static enum fp_reason died(enum fp_side_index side)
{
	return side == FP_CLIENT ? FP_CLOSE_CLIENT_RESET : FP_CLOSE_SERVER_RESET;
}

void fp_stream_drop(struct fp_worker *w, struct fp_stream *stream)
{
	if (stream->buf)
		fp_pool_give(&w->pool, stream->buf);
	stream->buf = NULL;
	stream->offset = stream->length = 0;
}

/* Bytes taken by the receiver (0: it is full), or -1: it is dead. */
static ssize_t offer(struct fp_side *to, const char *data, size_t length, int flags)
{
	ssize_t n;
	do
		n = send(to->fd, data, length, MSG_NOSIGNAL | flags);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		if (errno != EAGAIN)
			return -1;
		n = 0;
	}
	to->writable = (size_t)n == length;
	return n;
}

/* Bytes received, 0 at FIN, -EAGAIN, or -1: the sender is dead. */
static ssize_t receive(struct fp_side *from, char *data, size_t room, int flags)
{
	ssize_t n;
	do
		n = recv(from->fd, data, room, flags);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN)
		return -1;
	if (n < 0)
		from->readable = false;
	else if ((size_t)n < room && n > 0 && !from->hangup)
		from->readable = false;
	return n < 0 ? -EAGAIN : n;
}

static void count(struct fp_worker *w, struct fp_stream *stream, enum fp_side_index from, ssize_t n)
{
	stream->bytes += (uint64_t)n;
	fp_count(&w->stats.bytes[from], (uint64_t)n);
}

/* All buffers of the pool hold bytes for slow readers: move these bytes without keeping any, by looking at what waits in
 * the sender's socket, offering it, and then discarding from the socket exactly what was taken. */
static int relay_unbuffered(struct fp_worker *w, struct fp_conn *conn, enum fp_side_index from)
{
	struct fp_stream *stream = &conn->stream[from];
	ssize_t n = receive(&conn->side[from], w->scratch->data, w->pool.size, MSG_PEEK);
	if (n == -EAGAIN)
		return FP_RELAY_WAITS;
	if (n < 0)
		return (int)died(from);
	if (n == 0) {
		stream->eof = true;
		return FP_RELAY_HAS_MORE;
	}
	conn->side[from].readable = true; /* until it was really read */
	ssize_t taken = offer(&conn->side[!from], w->scratch->data, (size_t)n, 0);
	if (taken < 0)
		return (int)died(!from);
	/* MSG_TRUNC on TCP: drop without copying (tcp(7)). */
	if (taken > 0 && recv(conn->side[from].fd, NULL, (size_t)taken, MSG_TRUNC) != taken)
		return (int)died(from);
	count(w, stream, from, taken);
	return taken < n ? FP_RELAY_WAITS : FP_RELAY_HAS_MORE;
}

/* One read and one write. */
static int relay_once(struct fp_worker *w, struct fp_conn *conn, enum fp_side_index from)
{
	struct fp_stream *stream = &conn->stream[from];
	struct fp_buf *buf = fp_pool_take(&w->pool);
	if (!buf)
		return relay_unbuffered(w, conn, from);
	ssize_t n = receive(&conn->side[from], buf->data, w->pool.size, 0);
	if (n <= 0) {
		fp_pool_give(&w->pool, buf);
		if (n == -EAGAIN)
			return FP_RELAY_WAITS;
		if (n < 0)
			return (int)died(from);
		stream->eof = true;
		return FP_RELAY_HAS_MORE;
	}
	/* FIN is known to follow: let the last bytes wait for it, which is a matter of one more recv, and leave with it in
	 * one segment that wakes the receiver once. Not after RST: nothing but these bytes would follow. */
	int more = conn->side[from].hangup && !conn->side[from].failed ? MSG_MORE : 0;
	ssize_t taken = offer(&conn->side[!from], buf->data, (size_t)n, more);
	if (taken == n) {
		fp_pool_give(&w->pool, buf);
		count(w, stream, from, n);
		return conn->side[from].readable ? FP_RELAY_HAS_MORE : FP_RELAY_WAITS;
	}
	stream->buf = buf;
	stream->offset = taken < 0 ? 0 : (uint32_t)taken;
	stream->length = (uint32_t)n - stream->offset;
	if (taken < 0)
		return (int)died(!from);
	count(w, stream, from, taken);
	return FP_RELAY_WAITS;
}

static int flush(struct fp_worker *w, struct fp_conn *conn, enum fp_side_index from)
{
	struct fp_stream *stream = &conn->stream[from];
	ssize_t taken = offer(&conn->side[!from], stream->buf->data + stream->offset, stream->length, 0);
	if (taken < 0)
		return (int)died(!from);
	count(w, stream, from, taken);
	stream->offset += (uint32_t)taken;
	stream->length -= (uint32_t)taken;
	if (stream->length)
		return FP_RELAY_WAITS;
	fp_stream_drop(w, stream);
	return FP_RELAY_HAS_MORE;
}

/* The sender has finished and all its bytes are with the receiver: pass FIN on. */
static int finish(struct fp_conn *conn, enum fp_side_index from)
{
	conn->stream[from].done = true;
	if (conn->stream[!from].done)
		return FP_CLOSE_OK; /* close() says FIN as well: no shutdown needed */
	return shutdown(conn->side[!from].fd, SHUT_WR) ? (int)died(!from) : FP_RELAY_WAITS;
}

int fp_relay(struct fp_worker *w, struct fp_conn *conn, enum fp_side_index from)
{
	struct fp_stream *stream = &conn->stream[from];
	for (int budget = FP_BUDGET; budget && !stream->done; budget--) {
		if (stream->eof) /* read only when nothing was kept */
			return finish(conn, from);
		if (!conn->side[!from].writable || (!stream->length && !conn->side[from].readable))
			return FP_RELAY_WAITS;
		int rc = stream->length ? flush(w, conn, from) : relay_once(w, conn, from);
		if (rc != FP_RELAY_HAS_MORE)
			return rc;
	}
	return stream->done ? FP_RELAY_WAITS : FP_RELAY_HAS_MORE;
}
