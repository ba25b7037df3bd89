/* Load of the HTTP benchmarks: `httpload HOST PORT SECONDS CONNECTIONS AUTHORITY`, result as one JSON line.
 * CONNECTIONS kept-alive connections, each with one request outstanding (closed loop); one thread, epoll. Every answer must
 * be a 200 with a content-length, anything else ends the run. The first tenth of the time warms up and does not count.
 */
#include "net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { HEAD = 8192, MOST_CONNECTIONS = 1024 };

struct connection {
	int fd;
	uint64_t sent_at;
	size_t used;      /* bytes of the head so far */
	size_t body_left; /* once the head is complete */
	int in_body;
	char head[HEAD];
};

static char request[1024];
static size_t request_size;

static void ask(struct connection *c)
{
	c->used = 0;
	c->in_body = 0;
	c->sent_at = now_ns();
	send_all(c->fd, request, request_size);
}

static size_t body_size(const char *head)
{
	static const char name[] = "\r\ncontent-length:";

	for (const char *at = head; (at = strstr(at, "\r\n")); at += 2)
		if (!strncasecmp(at, name, sizeof(name) - 1))
			return strtoul(at + sizeof(name) - 1, NULL, 10);
	errno = EBADMSG;
	fail("answer without content-length");
}

/* 1 when the answer is complete. */
static int hear(struct connection *c)
{
	static char waste[64 * 1024];
	ssize_t n;

	if (c->in_body) {
		n = recv(c->fd, waste, sizeof(waste), MSG_DONTWAIT);
	} else {
		n = recv(c->fd, c->head + c->used, HEAD - 1 - c->used, MSG_DONTWAIT);
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n == 0)
		errno = ECONNRESET;
	if (n <= 0)
		fail("receive");
	if (!c->in_body) {
		char *end;
		size_t extra;

		c->used += (size_t)n;
		c->head[c->used] = 0;
		end = strstr(c->head, "\r\n\r\n");
		if (!end)
			return 0;
		errno = EBADMSG;
		if (strncmp(c->head, "HTTP/1.1 200", 12))
			fail("%.600s", c->head);
		extra = c->used - (size_t)(end + 4 - c->head);
		end[2] = 0;
		c->body_left = body_size(c->head);
		c->in_body = 1;
		n = (ssize_t)extra;
	}
	if ((size_t)n > c->body_left)
		fail("more than was announced");
	c->body_left -= (size_t)n;
	return c->body_left == 0;
}

int main(int argc, char **argv)
{
	static struct connection all[MOST_CONNECTIONS];
	struct epoll_event events[MOST_CONNECTIONS];
	struct latencies l = { 0 };
	uint64_t begin, counted, end, done = 0;
	double elapsed, p50, p99;
	int count, loop = epoll_create1(EPOLL_CLOEXEC);

	if (argc != 6 || (count = atoi(argv[4])) < 1 || count > MOST_CONNECTIONS || loop < 0) {
		fprintf(stderr, "usage: httpload HOST PORT SECONDS CONNECTIONS AUTHORITY\n");
		return 2;
	}
	request_size =
		(size_t)snprintf(request, sizeof(request),
				 "GET /bench HTTP/1.1\r\nhost: %.400s\r\nuser-agent: httpload\r\naccept: */*\r\n\r\n",
				 argv[5]);
	for (int i = 0; i < count; i++) {
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = &all[i] };

		all[i].fd = dial(argv[1], port_of(argv[2]));
		if (all[i].fd < 0 || epoll_ctl(loop, EPOLL_CTL_ADD, all[i].fd, &event))
			fail("connect to %s port %s", argv[1], argv[2]);
	}
	begin = now_ns();
	counted = begin + (uint64_t)(seconds_of(argv[3]) * 1e8);
	end = begin + (uint64_t)(seconds_of(argv[3]) * 1e9);
	for (int i = 0; i < count; i++)
		ask(&all[i]);
	while (done < end) {
		int n = epoll_wait(loop, events, count, 5000);

		if (n == 0)
			errno = ETIMEDOUT;
		if (n <= 0 && errno != EINTR)
			fail("no answer within 5 s");
		for (int i = 0; i < n; i++) {
			struct connection *c = events[i].data.ptr;

			if (!hear(c))
				continue;
			done = now_ns();
			if (c->sent_at >= counted)
				latencies_add(&l, done - c->sent_at);
			ask(c);
		}
	}
	elapsed = (double)(done - counted) / 1e9;
	p50 = latencies_percentile(&l, 50);
	p99 = latencies_percentile(&l, 99);
	printf("{\"mode\": \"http\", \"connections\": %d, \"count\": %zu, \"seconds\": %.4f, \"per_second\": %.1f, "
	       "\"mean_us\": %.3f, \"p50_us\": %.3f, \"p99_us\": %.3f}\n",
	       count, l.count, elapsed, (double)l.count / elapsed, latencies_mean(&l), p50, p99);
	return 0;
}
