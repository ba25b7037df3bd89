/* Server of the L4 benchmarks. `l4server PORT` listens on
 *   PORT     echo: every byte comes back
 *   PORT+1   sink: reads to the end of the stream, then answers with the number of bytes (8 bytes, host order)
 *   PORT+2   once: one byte comes back, then the server closes (so TIME_WAIT stays here and clients keep their ports)
 *   PORT+3   spout: sends without end
 *   PORT+4   deaf: reads nothing, until the client resets
 *   PORT+5   hello: reads one TLS record, answers with one byte and closes: what a handshake costs a server is the same
 *            whoever carries it, and is left out
 * Blocking sockets and one thread per long connection: the cheapest server there is, so that what is measured is the
 * path and not the server.
 */
#include "net.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

enum { BLOCK = 256 * 1024, STACK = 128 * 1024, RECORD_HEAD = 5, RECORD_MOST = 16384 };

struct room {
	uint16_t port;
	int threaded;
	void (*serve)(int fd);
};

struct guest {
	int fd;
	void (*serve)(int fd);
};

static void echo(int fd)
{
	char *block = malloc(BLOCK);
	ssize_t n;

	while (block && (n = recv(fd, block, BLOCK, 0)) > 0) {
		ssize_t sent = 0;

		while (sent < n) {
			ssize_t m = send(fd, block + sent, (size_t)(n - sent), MSG_NOSIGNAL);

			if (m <= 0)
				goto gone;
			sent += m;
		}
	}
gone:
	free(block);
}

static void sink(int fd)
{
	char *block = malloc(BLOCK);
	uint64_t total = 0;
	ssize_t n;

	while (block && (n = recv(fd, block, BLOCK, 0)) > 0)
		total += (uint64_t)n;
	if (send(fd, &total, sizeof(total), MSG_NOSIGNAL) < 0)
		perror("l4server: sink");
	free(block);
}

/* For who is served in the accepting thread: a client that says nothing must not stop the others for long. */
static void be_impatient(int fd)
{
	struct timeval patience = { .tv_usec = 500000 };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
}

static void once(int fd)
{
	char byte;

	be_impatient(fd);
	if (recv(fd, &byte, 1, 0) == 1 && send(fd, &byte, 1, MSG_NOSIGNAL) != 1)
		perror("l4server: once");
}

static void hello(int fd)
{
	unsigned char record[RECORD_HEAD + RECORD_MOST];
	size_t used = 0, whole = RECORD_HEAD;
	ssize_t n;

	be_impatient(fd);
	while (used < whole) {
		n = recv(fd, record + used, sizeof(record) - used, 0);
		if (n <= 0)
			return;
		used += (size_t)n;
		if (used >= RECORD_HEAD)
			whole = RECORD_HEAD + (size_t)(record[3] << 8 | record[4]);
		if (whole > sizeof(record))
			return;
	}
	if (send(fd, record, 1, MSG_NOSIGNAL) != 1)
		perror("l4server: hello");
}

static void spout(int fd)
{
	static const char block[BLOCK];

	while (send(fd, block, sizeof(block), MSG_NOSIGNAL) > 0)
		;
}

static void deaf(int fd)
{
	struct pollfd gone = { .fd = fd };

	while (poll(&gone, 1, -1) < 0 && errno == EINTR)
		;
}

static void *serve_guest(void *arg)
{
	struct guest guest = *(struct guest *)arg;

	free(arg);
	guest.serve(guest.fd);
	close(guest.fd);
	return NULL;
}

static void *serve_room(void *arg)
{
	const struct room *room = arg;
	int listener = listen_on(room->port), on = 1;
	pthread_attr_t small;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, STACK);
	pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		struct guest *guest;
		pthread_t thread;

		if (fd < 0 && (errno == ECONNABORTED || errno == EINTR))
			continue;
		if (fd < 0)
			fail("accept on port %u", room->port);
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		if (!room->threaded) {
			room->serve(fd);
			close(fd);
			continue;
		}
		guest = malloc(sizeof(*guest));
		if (!guest)
			fail("guest");
		*guest = (struct guest){ .fd = fd, .serve = room->serve };
		if (pthread_create(&thread, &small, serve_guest, guest))
			fail("thread");
	}
}

int main(int argc, char **argv)
{
	static struct room rooms[] = {
		{ 0, 0, once }, { 0, 1, echo }, { 0, 1, sink }, { 0, 1, spout }, { 0, 1, deaf }, { 0, 0, hello },
	};
	static const uint16_t at[] = { 2, 0, 1, 3, 4, 5 };
	pthread_t thread;

	if (argc != 2) {
		fprintf(stderr, "usage: l4server PORT\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	for (int i = 5; i >= 0; i--) {
		rooms[i].port = (uint16_t)(port_of(argv[1]) + at[i]);
		if (i && pthread_create(&thread, NULL, serve_room, &rooms[i]))
			fail("thread");
	}
	serve_room(&rooms[0]);
	return 0;
}
