/* Over loopback a segment is delivered while it is sent, but for the times when the machine is busy: then ksoftirqd does it,
 * a moment later. Tests that turn a loop by hand until nothing is left to do have to know that nothing is on its way. */
#ifndef ARRIVED_H
#define ARRIVED_H
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/socket.h>

#include "check.h"

/* What one CPU sends is delivered in order, so this program sends from one only. */
static void __attribute__((constructor)) stay_on_one_cpu(void)
{
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one);
	CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
}

/* A TCP socket that sends what it may at once: others pace what they send by what they measured, and a busy machine is slow. */
static inline int prompt_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4) == 0);
	return fd;
}

/* Returns when everything that was sent over loopback is where it goes: a datagram behind it has come. */
static inline void all_arrived(void)
{
	static int fd = -1;
	char byte = 0;
	if (fd < 0) {
		struct sockaddr_in name = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		socklen_t size = sizeof(name);
		fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		CHECK(fd >= 0 && bind(fd, (void *)&name, size) == 0 && getsockname(fd, (void *)&name, &size) == 0);
		CHECK(connect(fd, (void *)&name, size) == 0); /* to itself */
	}
	CHECK(send(fd, &byte, 1, 0) == 1 && recv(fd, &byte, 1, 0) == 1);
}
#endif
