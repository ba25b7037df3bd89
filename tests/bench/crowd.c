/* A pod that takes what it gets. `crowd MODE HOST PORT SECONDS COUNT`, result as one JSON line.
 *   bulk  COUNT streams in one direction, a thread each                     (server: sink)
 *   down  COUNT connections from which nobody reads what the server sends   (server: spout)
 *   up    COUNT connections into which all is sent that the kernel takes    (server: deaf)
 * down and up hold what they have for that long; all connections end by a reset, so that nothing of them stays.
 */
#include "net.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 4096, BLOCK = 128 * 1024, STACK = 64 * 1024, PAUSE_NS = 20 * 1000 * 1000 };

static int fds[MOST];
static pthread_t threads[MOST];
static uint64_t end;
static _Atomic uint64_t total;

static void *push(void *arg)
{
	static const char block[BLOCK];
	int fd = *(const int *)arg;

	while (now_ns() < end) {
		ssize_t n = send(fd, block, sizeof(block), MSG_NOSIGNAL);

		if (n <= 0)
			fail("send");
		atomic_fetch_add(&total, (uint64_t)n);
	}
	return NULL;
}

static void bulk(int count)
{
	pthread_attr_t small;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, STACK);
	for (int i = 0; i < count; i++) {
		if (pthread_create(&threads[i], &small, push, &fds[i]))
			fail("thread");
	}
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

static void stuff(int count)
{
	static const char block[BLOCK];

	for (int i = 0; i < count; i++) {
		ssize_t n;

		fcntl(fds[i], F_SETFL, O_NONBLOCK);
		while ((n = send(fds[i], block, sizeof(block), MSG_NOSIGNAL)) > 0)
			atomic_fetch_add(&total, (uint64_t)n);
		if (n < 0 && errno != EAGAIN)
			fail("send");
	}
}

int main(int argc, char **argv)
{
	const char *mode = argc == 6 ? argv[1] : "";
	int count = argc == 6 ? atoi(argv[5]) : 0;
	struct linger at_once = { .l_onoff = 1 };
	uint64_t begin;

	if ((strcmp(mode, "bulk") && strcmp(mode, "down") && strcmp(mode, "up")) || count < 1 || count > MOST) {
		fprintf(stderr, "usage: crowd bulk|down|up HOST PORT SECONDS COUNT\n");
		return 2;
	}
	for (int i = 0; i < count; i++) {
		fds[i] = dial(argv[2], port_of(argv[3]));
		if (fds[i] < 0)
			fail("connect to %s port %s", argv[2], argv[3]);
		setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	}
	begin = now_ns();
	end = begin + (uint64_t)(seconds_of(argv[4]) * 1e9);
	if (!strcmp(mode, "bulk"))
		bulk(count);
	while (now_ns() < end) {
		if (!strcmp(mode, "up"))
			stuff(count);
		nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
	}
	printf("{\"mode\": \"%s\", \"count\": %d, \"bytes\": %llu, \"gbit_s\": %.4f}\n", mode, count,
	       (unsigned long long)total, (double)total * 8 / (double)(now_ns() - begin));
	return 0;
}
