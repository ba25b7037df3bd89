#include "net.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

void fail(const char *format, ...)
{
	int error = errno;
	va_list args;

	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, ": %s\n", strerror(error));
	exit(1);
}

int listen_on(uint16_t port)
{
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int on = 1, off = 0;
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fail("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 4096))
		fail("listen on port %u", port);
	return fd;
}

int dial(const char *host, uint16_t port)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
	struct addrinfo *found;
	char service[8];
	int fd, on = 1;

	snprintf(service, sizeof(service), "%u", port);
	if (getaddrinfo(host, service, &hints, &found)) {
		errno = EINVAL;
		return -1;
	}
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen)) {
		int error = errno;

		close(fd);
		errno = error;
		fd = -1;
	}
	freeaddrinfo(found);
	if (fd >= 0)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

void send_all(int fd, const void *data, size_t size)
{
	const char *at = data;

	while (size) {
		ssize_t n = send(fd, at, size, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			fail("send");
		at += n;
		size -= (size_t)n;
	}
}

void receive_all(int fd, void *data, size_t size)
{
	char *at = data;

	while (size) {
		ssize_t n = recv(fd, at, size, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = ECONNRESET;
		if (n <= 0)
			fail("receive");
		at += n;
		size -= (size_t)n;
	}
}

uint16_t port_of(const char *text)
{
	long port = strtol(text, NULL, 10);

	errno = EINVAL;
	if (port < 1 || port > 65533)
		fail("port %s", text);
	return (uint16_t)port;
}

double seconds_of(const char *text)
{
	double seconds = strtod(text, NULL);

	errno = EINVAL;
	if (!(seconds > 0 && seconds <= 600))
		fail("seconds %s", text);
	return seconds;
}

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void latencies_add(struct latencies *l, uint64_t ns)
{
	if (l->count == l->room) {
		l->room = l->room ? l->room * 2 : 1 << 20;
		l->ns = realloc(l->ns, l->room * sizeof(*l->ns));
		if (!l->ns)
			fail("%zu latencies", l->room);
	}
	l->ns[l->count++] = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
	l->total_ns += ns;
}

static int ascending(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

double latencies_percentile(struct latencies *l, double percent)
{
	size_t at;

	if (!l->count)
		return 0;
	qsort(l->ns, l->count, sizeof(*l->ns), ascending);
	at = (size_t)((double)(l->count - 1) * percent / 100);
	return l->ns[at] / 1e3;
}

double latencies_mean(const struct latencies *l)
{
	return l->count ? (double)l->total_ns / (double)l->count / 1e3 : 0;
}
