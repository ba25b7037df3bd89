/* Server of the HTTP benchmarks: `httpserver PORT [BODY]` answers every GET with 200 and BODY bytes (1024), keep-alive.
 * One thread, epoll. It looks for the end of the request head and at nothing else: requests of the load tool and of the
 * proxies between have no body.
 */
#include "net.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD = 16 * 1024, EVENTS = 256, LARGEST_BODY = 1 << 20 };

struct client {
	int fd;
	size_t used;
	char head[HEAD];
};

static char *answer;
static size_t answer_size;

static void prepare(size_t body)
{
	int head;

	answer = malloc(256 + body);
	if (!answer)
		fail("answer");
	head = snprintf(answer, 256,
			"HTTP/1.1 200 OK\r\nserver: bench\r\ncontent-type: text/plain\r\ncontent-length: %zu\r\n\r\n",
			body);
	memset(answer + head, 'x', body);
	answer_size = (size_t)head + body;
}

/* 0, or -1 when the client is gone or said something that is no request. */
static int serve(struct client *c)
{
	ssize_t n = recv(c->fd, c->head + c->used, HEAD - 1 - c->used, MSG_DONTWAIT);
	char *from = c->head, *end;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return -1;
	c->used += (size_t)n;
	c->head[c->used] = 0;
	while ((end = strstr(from, "\r\n\r\n"))) {
		ssize_t sent;

		if (strncmp(from, "GET ", 4))
			return -1;
		/* Blocking on purpose: an answer fits the socket buffer unless the client does not read. */
		sent = send(c->fd, answer, answer_size, MSG_NOSIGNAL);
		if (sent != (ssize_t)answer_size)
			return -1;
		from = end + 4;
	}
	c->used -= (size_t)(from - c->head);
	memmove(c->head, from, c->used);
	return c->used < HEAD - 1 ? 0 : -1;
}

static void welcome(int loop, int listener)
{
	struct epoll_event event = { .events = EPOLLIN };
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), on = 1;
	struct client *c;

	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c = malloc(sizeof(*c));
	if (!c)
		fail("client");
	c->fd = fd;
	c->used = 0;
	event.data.ptr = c;
	if (epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event))
		fail("epoll");
}

int main(int argc, char **argv)
{
	struct epoll_event event = { .events = EPOLLIN }, events[EVENTS];
	size_t body = argc > 2 ? strtoul(argv[2], NULL, 10) : 1024;
	int loop = epoll_create1(EPOLL_CLOEXEC), listener;

	if (argc < 2 || argc > 3 || body > LARGEST_BODY) {
		fprintf(stderr, "usage: httpserver PORT [BODY_BYTES]\n");
		return 2;
	}
	prepare(body);
	listener = listen_on(port_of(argv[1]));
	if (loop < 0 || epoll_ctl(loop, EPOLL_CTL_ADD, listener, &event))
		fail("epoll");
	for (;;) {
		int n = epoll_wait(loop, events, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			struct client *c = events[i].data.ptr;

			if (!c) {
				welcome(loop, listener);
			} else if (serve(c)) {
				close(c->fd);
				free(c);
			}
		}
	}
}
