/* Per wake-up: one read, one write, nothing else. A short read means that the socket is drained, so it is not read again
 * before epoll reports a new edge; a short write means that it is full. No epoll_ctl after the stream is opened. */
#include "stream_plain.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	FP_NOT_SENT = 64 * 1024, /* bytes that wait in a socket for its window */
	FP_NARROW = 64 * 1024    /* bytes of a receive buffer, the kernel's overhead included */
};

struct fp_plain {
	struct fp_stream stream;
	struct fp_source source;
	struct fp_plains *plains;
	bool opening; /* connect() is under way */
	bool hangup;  /* FIN or RST has arrived: read on to the end, however short a read was */
};

static struct fp_plain *plain_of(struct fp_stream *stream)
{
	return fp_container(stream, struct fp_plain, stream);
}

static void ready(struct fp_source *source, uint32_t events)
{
	struct fp_plain *plain = fp_container(source, struct fp_plain, source);
	struct fp_stream *stream = &plain->stream;
	bool room = (events & EPOLLOUT) && !stream->writable;

	if (events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP))
		plain->hangup = true;
	if (events & (plain->opening ? EPOLLERR | EPOLLHUP : EPOLLERR))
		stream->failed = true;
	plain->opening = false;
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP))
		stream->readable = true;
	/* Not after RST: nothing but the bytes that wait would follow. */
	stream->ending = plain->hangup && !stream->failed;
	stream->writable |= room;
	stream->changed(stream, room);
}

static ssize_t receive(struct fp_stream *stream, void *data, size_t room, int flags)
{
	ssize_t n;
	do
		n = recv(plain_of(stream)->source.fd, data, room, flags);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN)
		return -errno;
	if (n < 0) {
		stream->readable = false;
		return -EAGAIN;
	}
	return n;
}

static ssize_t plain_recv(struct fp_stream *stream, void *data, size_t room)
{
	ssize_t n = receive(stream, data, room, 0);
	if (n > 0 && (size_t)n < room && !plain_of(stream)->hangup)
		stream->readable = false;
	return n;
}

static ssize_t plain_send(struct fp_stream *stream, const void *data, size_t length, bool more)
{
	ssize_t n;
	do
		n = send(plain_of(stream)->source.fd, data, length, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN)
		return -errno;
	if (n < 0)
		n = 0;
	stream->writable = (size_t)n == length;
	return n;
}

static int plain_finish(struct fp_stream *stream)
{
	return shutdown(plain_of(stream)->source.fd, SHUT_WR) ? -errno : 0;
}

static int plain_error(struct fp_stream *stream)
{
	int error = 0;
	socklen_t length = sizeof(error);
	getsockopt(plain_of(stream)->source.fd, SOL_SOCKET, SO_ERROR, &error, &length);
	return error;
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
	fp_loop_forget(plain->plains->loop, &plain->source);
	if (end == FP_STREAM_RESET)
		fp_plain_refuse(plain->source.fd);
	else
		close(plain->source.fd);
	fp_slab_give(&plain->plains->slab, plain);
}

static ssize_t plain_peek(struct fp_stream *stream, void *data, size_t room)
{
	return receive(stream, data, room, MSG_PEEK); /* still readable: it was not really read */
}

static int plain_discard(struct fp_stream *stream, size_t length)
{
	/* MSG_TRUNC on TCP: drop without copying (tcp(7)). */
	ssize_t n = recv(plain_of(stream)->source.fd, NULL, length, MSG_TRUNC);
	if (n < 0)
		return -errno;
	return (size_t)n == length ? 0 : -EIO;
}

static void plain_widen(struct fp_stream *stream)
{
	int unlocked = 0;
	/* From here on the kernel finds the size of the receive buffer, as it does for others. */
	setsockopt(plain_of(stream)->source.fd, SOL_SOCKET, SO_BUF_LOCK, &unlocked, sizeof(unlocked));
}

int fp_plain_keep_little(int fd)
{
	/* Not SO_SNDBUF: that would bound what is on its way as well, and so the rate over a long way. */
	int bytes = FP_NOT_SENT;
	return setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof(bytes)) ? -errno : 0;
}

void fp_plain_narrow(int fd)
{
	int bytes = FP_NARROW / 2; /* the kernel doubles it */
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
}

static const struct fp_stream_ops plain_ops = {
	.recv = plain_recv,
	.send = plain_send,
	.finish = plain_finish,
	.error = plain_error,
	.close = plain_close,
	.peek = plain_peek,
	.discard = plain_discard,
	.widen = plain_widen,
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
		.opening = !connected,
	};
	/* Both directions at once and edge-triggered: the only epoll_ctl that this socket ever costs. */
	int rc = fp_loop_watch(plains->loop, &plain->source, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
	if (rc) {
		plain_close(&plain->stream, FP_STREAM_RESET);
		return rc;
	}
	*ret_stream = &plain->stream;
	return 0;
}
