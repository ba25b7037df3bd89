/* Per wake-up: one read, one write, nothing else. A short read means that the socket is drained, so it is not read again
 * before epoll reports a new edge; a short write means that it is full. No epoll_ctl after the stream is opened, but two when it changes loops.
 *
 * The exception is urgent data (tcp(7)): a read ends before the urgent byte, whatever waits behind it. EPOLLPRI says that
 * there is one, so as long as it has not been passed each read is followed by the question whether it is next. Sockets
 * have SO_OOBINLINE from their beginning, or the kernel would take the byte out of the stream. */
#include "stream_plain.h"

#include <sys/socket.h>
#include <unistd.h>

#include "tcp.h"

enum {
	/* Bytes that wait in a socket for its window: before its peer is seen to read, and from then on. */
	FP_NOT_SENT_YET = 16 * 1024,
	FP_NOT_SENT = 64 * 1024,
	FP_NARROW = 64 * 1024 /* bytes of a receive buffer, the kernel's overhead included */
};

struct fp_plain {
	struct fp_stream stream;
	struct fp_source source;
	struct fp_plains *plains; /* whose memory it is */
	struct fp_loop *loop;     /* where its events are told: theirs, until it leaves */
	bool opening;             /* connect() is under way */
	bool hangup;              /* FIN or RST has arrived: read on to the end, however short a read was */
	bool marked;              /* an urgent byte has arrived and was not received yet */
	bool holds_ack;           /* the handshake's end goes with the first bytes */
	uint8_t sends;            /* until what only matters from the second one on is set; 0 = it is */
	int error;                /* errno of which it died; the kernel tells it once only */
};

static struct fp_plain *plain_of(struct fp_stream *stream)
{
	return fp_container(stream, struct fp_plain, stream);
}

/* The peer had answered and then reset the connection: before it has answered, a reset is ECONNREFUSED. EPIPE: its FIN
 * came between. */
static bool was_open(int error)
{
	return error == ECONNRESET || error == EPIPE;
}

static void ready(struct fp_source *source, uint32_t events)
{
	struct fp_plain *plain = fp_container(source, struct fp_plain, source);
	struct fp_stream *stream = &plain->stream;
	bool died = events & (plain->opening ? EPOLLERR | EPOLLHUP : EPOLLERR);

	if (died && !plain->error)
		plain->error = fp_tcp_error(source->fd);
	bool opens = !plain->opening || !died || was_open(plain->error);
	bool room = (events & EPOLLOUT) && !stream->writable && opens;
	if (events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP))
		plain->hangup = true;
	if (died)
		stream->failed = true;
	plain->opening = false;
	if (events & (EPOLLIN | EPOLLPRI | EPOLLERR | EPOLLHUP | EPOLLRDHUP))
		stream->readable = true;
	if (events & EPOLLPRI) {
		plain->marked = true;
		stream->urgent = fp_tcp_at_mark(source->fd);
	}
	/* Not after RST: nothing but the bytes that wait would follow. */
	stream->ending = plain->hangup && !stream->failed;
	stream->writable |= room;
	stream->changed(stream, room);
}

static ssize_t receive(struct fp_stream *stream, void *data, size_t room, int flags)
{
	struct fp_plain *plain = plain_of(stream);
	ssize_t n;
	do
		n = recv(plain->source.fd, data, room, flags);
	while (n < 0 && errno == EINTR);
	if (n == 0 && plain->error)
		return -plain->error; /* no end: the kernel has told why already */
	if (n < 0 && errno != EAGAIN)
		return -errno;
	if (n < 0) {
		stream->readable = false;
		return -EAGAIN;
	}
	return n;
}

/* Bytes were taken, so the urgent one was passed or may be the next. */
static void move_mark(struct fp_plain *plain)
{
	plain->marked = !plain->stream.urgent;
	plain->stream.urgent = plain->marked && fp_tcp_at_mark(plain->source.fd);
}

static ssize_t plain_recv(struct fp_stream *stream, void *data, size_t room)
{
	struct fp_plain *plain = plain_of(stream);
	ssize_t n = receive(stream, data, room, 0);
	if (n <= 0)
		return n;
	bool marked = plain->marked;
	if (marked)
		move_mark(plain);
	if ((size_t)n < room && !plain->hangup && !stream->urgent && !marked)
		stream->readable = false;
	return n;
}

/* What is sent first waits for no acknowledgement and is little; many connections send no more. */
static void before_send(struct fp_plain *plain)
{
	if (!plain->sends || --plain->sends)
		return;
	fp_tcp_send_at_once(plain->source.fd);
	(void)fp_tcp_bound_unsent(plain->source.fd, FP_NOT_SENT_YET);
}

static ssize_t send_some(struct fp_stream *stream, const void *data, size_t length, int flags)
{
	struct fp_plain *plain = plain_of(stream);
	ssize_t n;
	before_send(plain);
	do
		n = send(plain->source.fd, data, length, MSG_NOSIGNAL | flags);
	while (n < 0 && errno == EINTR);
	if (n > 0 && plain->holds_ack) {
		plain->holds_ack = false;
		fp_tcp_ack_at_once(plain->source.fd);
	}
	if (n < 0 && errno != EAGAIN)
		return -errno;
	if (n < 0)
		n = 0;
	stream->writable = (size_t)n == length;
	return n;
}

static ssize_t plain_send(struct fp_stream *stream, const void *data, size_t length, bool more)
{
	return send_some(stream, data, length, more ? MSG_MORE : 0);
}

static ssize_t plain_send_urgent(struct fp_stream *stream, const void *byte)
{
	return send_some(stream, byte, 1, MSG_OOB);
}

static int plain_finish(struct fp_stream *stream)
{
	return shutdown(plain_of(stream)->source.fd, SHUT_WR) ? -errno : 0;
}

static int plain_error(struct fp_stream *stream)
{
	struct fp_plain *plain = plain_of(stream);
	if (!plain->error)
		plain->error = fp_tcp_error(plain->source.fd);
	return plain->error;
}

void fp_plain_refuse(int fd)
{
	struct linger at_once = { .l_onoff = 1, .l_linger = 0 };
	/* close() then sends RST and drops what is queued. On a socket that already died it changes nothing. */
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(fd);
}

static void plain_close(struct fp_stream *stream, enum fp_stream_end end)
{
	struct fp_plain *plain = plain_of(stream);
	fp_loop_forget(plain->loop, &plain->source);
	if (end == FP_STREAM_RESET)
		fp_plain_refuse(plain->source.fd);
	else
		close(plain->source.fd);
	if (plain->loop == plain->plains->loop)
		fp_slab_give(&plain->plains->slab, plain);
	else
		fp_slab_return(&plain->plains->slab, plain);
}

static ssize_t plain_peek(struct fp_stream *stream, void *data, size_t room)
{
	ssize_t n = receive(stream, data, room, MSG_PEEK);
	if (n > 0) /* they were not really read */
		stream->readable = true;
	return n;
}

static bool plain_arrived(struct fp_stream *stream)
{
	stream->readable |= fp_tcp_has_bytes(plain_of(stream)->source.fd);
	return stream->readable;
}

static int plain_discard(struct fp_stream *stream, size_t length)
{
	/* MSG_TRUNC on TCP: drop without copying (tcp(7)). */
	ssize_t n = recv(plain_of(stream)->source.fd, NULL, length, MSG_TRUNC);
	if (n < 0)
		return -errno;
	if (plain_of(stream)->marked)
		move_mark(plain_of(stream));
	return (size_t)n == length ? 0 : -EIO;
}

static void plain_widen(struct fp_stream *stream)
{
	int unlocked = 0;
	/* From here on the kernel finds the size of the receive buffer, as it does for others. */
	setsockopt(plain_of(stream)->source.fd, SOL_SOCKET, SO_BUF_LOCK, &unlocked, sizeof(unlocked));
}

static void plain_deepen(struct fp_stream *stream)
{
	/* or it stays as it is, which costs wake-ups */
	(void)fp_tcp_bound_unsent(plain_of(stream)->source.fd, FP_NOT_SENT);
}

int fp_plain_keep_little(int fd)
{
	return fp_tcp_bound_unsent(fd, FP_NOT_SENT_YET);
}

void fp_plain_narrow(int fd)
{
	int bytes = FP_NARROW / 2; /* the kernel doubles it */
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
}

static int plain_socket(const struct fp_stream *stream)
{
	return fp_container(stream, struct fp_plain, stream)->source.fd;
}

static void plain_leave(struct fp_stream *stream)
{
	struct fp_plain *plain = plain_of(stream);
	fp_loop_unwatch(plain->loop, &plain->source);
}

static int watch(struct fp_plain *plain)
{
	/* Both directions at once and edge-triggered: the only epoll_ctl that this socket costs in one loop. */
	return fp_loop_watch(plain->loop, &plain->source, EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

static int plain_join(struct fp_stream *stream, struct fp_loop *loop)
{
	struct fp_plain *plain = plain_of(stream);
	plain->loop = loop;
	return watch(plain);
}

static const struct fp_stream_ops plain_ops = {
	.recv = plain_recv,
	.send = plain_send,
	.finish = plain_finish,
	.error = plain_error,
	.close = plain_close,
	.send_urgent = plain_send_urgent,
	.socket = plain_socket,
	.peek = plain_peek,
	.discard = plain_discard,
	.arrived = plain_arrived,
	.widen = plain_widen,
	.deepen = plain_deepen,
	.leave = plain_leave,
	.join = plain_join,
};

void fp_plains_init(struct fp_plains *plains, struct fp_loop *loop)
{
	plains->loop = loop;
	fp_slab_init(&plains->slab, sizeof(struct fp_plain));
}

void fp_plains_clear(struct fp_plains *plains)
{
	fp_slab_clear(&plains->slab);
}

void fp_plain_dialled(struct fp_stream *stream, bool holds_ack)
{
	plain_of(stream)->holds_ack = holds_ack;
	plain_of(stream)->sends = 2;
}

int fp_plain_open(struct fp_plains *plains, int fd, bool connected, struct fp_stream **ret_stream)
{
	struct fp_plain *plain = fp_slab_take(&plains->slab);
	if (!plain) {
		fp_plain_refuse(fd);
		return -ENOMEM;
	}
	*plain = (struct fp_plain){
		.stream = { .ops = &plain_ops, .writable = connected },
		.source = { .fd = fd, .ready = ready },
		.plains = plains,
		.loop = plains->loop,
		.opening = !connected,
	};
	int rc = watch(plain);
	if (rc) {
		plain_close(&plain->stream, FP_STREAM_RESET);
		return rc;
	}
	*ret_stream = &plain->stream;
	return 0;
}
