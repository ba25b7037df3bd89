/* What a socket to a server is told, and when: over loopback, which has answered when connect() is back. */
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "../../../agent/relay/addr.h"
#include "../../../agent/relay/dial.h"
#include "../../../agent/relay/loop.h"
#include "../../../agent/relay/tcp.h"
#include "arrived.h"
#include "check.h"

static struct fp_loop loop;
static struct fp_plains plains;
static struct fp_netns_visit visit = { .here_fd = 1000 }; /* where it is already */
static struct fp_plain_dialer dialer;
static const struct tg_addr here = { { [10] = 0xff, 0xff, 127, 0, 0, 1 } };
static int listener, server;
static uint16_t port_be;

static void nothing(struct fp_stream *stream, bool room)
{
	CHECK(stream && (room || !room));
}

static int option_of(int fd, int level, int option)
{
	int value = -1;
	socklen_t size = sizeof(value);
	CHECK(getsockopt(fd, level, option, &value, &size) == 0);
	return value;
}

static uint32_t segments_of(int fd)
{
	uint32_t info[36] = { 0 };
	socklen_t size = sizeof(info);
	CHECK(getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &size) == 0 && size == sizeof(info));
	return info[35]; /* tcpi_segs_in of linux/tcp.h, which libc's tcp_info does not have */
}

static bool comes(void)
{
	all_arrived();
	server = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	return server >= 0;
}

static struct fp_stream *dial(const struct fp_origin *from)
{
	struct fp_stream *stream;
	CHECK(dialer.dialer.dial(&dialer.dialer, from, &here, port_be, &stream) == 0);
	fp_stream_use(stream, nothing, NULL);
	return stream;
}

static int fd_of(const struct fp_stream *stream)
{
	return stream->ops->socket(stream);
}

static void end(struct fp_stream *stream)
{
	stream->ops->close(stream, FP_STREAM_RESET);
	close(server);
}

/* The server gets both in one segment, so it hears of neither before. */
static void first_bytes_go_with_the_end_of_the_handshake(void)
{
	const struct fp_origin from = { .netns_fd = visit.here_fd, .bytes_wait = true };
	struct fp_stream *stream = dial(&from);
	char got[8];
	CHECK(stream->writable && !comes());
	CHECK(stream->ops->send(stream, "hello", 5, false) == 5);
	CHECK(comes() && recv(server, got, sizeof(got), 0) == 5 && !memcmp(got, "hello", 5));
	CHECK(segments_of(server) == 2); /* SYN, and this */
	/* A server that waits for an acknowledgement between two sends (RFC 9293, 3.7.4) does not wait for 40 ms. */
	CHECK(option_of(fd_of(stream), IPPROTO_TCP, TCP_QUICKACK) == 1);
	end(stream);
}

static void a_server_that_speaks_first_is_not_kept_waiting(void)
{
	const struct fp_origin from = { .netns_fd = visit.here_fd };
	struct fp_stream *stream = dial(&from);
	CHECK(comes());
	CHECK(option_of(fd_of(stream), IPPROTO_TCP, TCP_QUICKACK) == 1);
	end(stream);
}

static void what_matters_from_the_second_send_on_is_set_then(void)
{
	const struct fp_origin from = { .netns_fd = visit.here_fd };
	struct fp_stream *stream = dial(&from);
	int fd = fd_of(stream);
	CHECK(comes() && stream->ops->send(stream, "one", 3, false) == 3);
	CHECK(option_of(fd, IPPROTO_TCP, TCP_NODELAY) == 0);
	for (int i = 0; i < 2; i++) {
		CHECK(stream->ops->send(stream, "two", 3, false) == 3);
		CHECK(option_of(fd, IPPROTO_TCP, TCP_NODELAY) == 1);
		CHECK(option_of(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT) == 16 * 1024);
	}
	stream->ops->deepen(stream);
	CHECK(stream->ops->send(stream, "four", 4, false) == 4);
	CHECK(option_of(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT) == 64 * 1024);
	end(stream);
}

/* Urgent bytes are told as such from the beginning, whatever comes later. */
static void what_cannot_wait_is_set_before_it_connects(void)
{
	struct fp_origin from = { .netns_fd = visit.here_fd };
	struct fp_stream *stream = dial(&from);
	CHECK(comes() && option_of(fd_of(stream), SOL_SOCKET, SO_OOBINLINE) == 1);
	CHECK(option_of(fd_of(stream), SOL_SOCKET, SO_KEEPALIVE) == 0); /* a second later, see conn.c */
	end(stream);
	from.keepalive.time_s = 7;
	stream = dial(&from);
	CHECK(comes() && option_of(fd_of(stream), SOL_SOCKET, SO_KEEPALIVE) == 1);
	CHECK(option_of(fd_of(stream), IPPROTO_TCP, TCP_KEEPIDLE) == 7);
	end(stream);
}

static struct fp_stream *accepted(void)
{
	struct sockaddr_in name = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				    .sin_port = port_be };
	struct fp_stream *stream;
	int peer = prompt_socket();
	CHECK(connect(peer, (void *)&name, sizeof(name)) == 0 && comes());
	CHECK(fp_plain_open(&plains, server, true, &stream) == 0);
	fp_stream_use(stream, nothing, NULL);
	server = peer;
	return stream;
}

static bool has_arrived(struct fp_stream *stream)
{
	all_arrived();
	const bool seen = stream->ops->arrived(stream);
	CHECK(seen == stream->readable);
	return seen;
}

static void bytes_are_seen_that_nobody_told_of(void)
{
	char got[8];
	struct fp_stream *stream = accepted();
	CHECK(!has_arrived(stream));
	CHECK(send(server, "x", 1, 0) == 1 && has_arrived(stream) && has_arrived(stream));
	CHECK(stream->ops->recv(stream, got, sizeof(got)) == 1 && !has_arrived(stream));
	end(stream);
}

/* Those are for events, which tell what is urgent and what ends. */
static void nothing_else_is_taken_for_bytes(void)
{
	struct fp_stream *stream = accepted();
	CHECK(send(server, "x", 1, MSG_OOB) == 1 && !has_arrived(stream));
	end(stream);
	stream = accepted();
	CHECK(send(server, "x", 1, 0) == 1 && shutdown(server, SHUT_WR) == 0 && !has_arrived(stream));
	end(stream);
	stream = accepted();
	fp_plain_refuse(server);
	CHECK(!has_arrived(stream));
	server = -1;
	end(stream);
}

int main(void)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(name);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	CHECK(bind(listener, (void *)&name, size) == 0 && listen(listener, 8) == 0);
	CHECK(getsockname(listener, (void *)&name, &size) == 0);
	port_be = name.sin_port;
	CHECK(fp_loop_open(&loop) == 0);
	fp_plains_init(&plains, &loop);
	fp_plain_dialer_init(&dialer, &visit, &plains);
	first_bytes_go_with_the_end_of_the_handshake();
	a_server_that_speaks_first_is_not_kept_waiting();
	what_matters_from_the_second_send_on_is_set_then();
	what_cannot_wait_is_set_before_it_connects();
	bytes_are_seen_that_nobody_told_of();
	nothing_else_is_taken_for_bytes();
	close(listener);
	fp_plains_clear(&plains);
	fp_loop_close(&loop);
	return 0;
}
