/* Load of the L4 benchmarks, one thread, blocking. `l4load MODE HOST PORT SECONDS [SIZE]`, result as one JSON line.
 *   rr    request and response of SIZE bytes over one connection           (server: echo)
 *   bulk  one stream in one direction, counted by the receiver             (server: sink)
 *   conn  connect, one byte there and back, close, and again               (server: once)
 * The first tenth of the time of rr and conn warms up and does not count.
 */
#include "net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BULK_BLOCK = 128 * 1024, LARGEST = 1 << 20 };

static int must_dial(const char *host, uint16_t port)
{
	int fd = dial(host, port);

	if (fd < 0)
		fail("connect to %s port %u", host, port);
	return fd;
}

static void print_latencies(const char *mode, struct latencies *l, double elapsed)
{
	double mean = latencies_mean(l), p50 = latencies_percentile(l, 50), p99 = latencies_percentile(l, 99);

	printf("{\"mode\": \"%s\", \"count\": %zu, \"seconds\": %.4f, \"per_second\": %.1f, "
	       "\"mean_us\": %.3f, \"p50_us\": %.3f, \"p99_us\": %.3f, \"max_us\": %.3f}\n",
	       mode, l->count, elapsed, (double)l->count / elapsed, mean, p50, p99, latencies_percentile(l, 100));
}

static void round_trips(const char *host, uint16_t port, double seconds, size_t size)
{
	char *out = malloc(size), *in = malloc(size);
	struct latencies l = { 0 };
	uint64_t begin, counted, end, start;
	int fd = must_dial(host, port);

	if (!out || !in)
		fail("%zu bytes", size);
	memset(out, 'x', size);
	begin = now_ns();
	counted = begin + (uint64_t)(seconds * 1e8);
	end = begin + (uint64_t)(seconds * 1e9);
	for (start = begin; start < end;) {
		uint64_t done;

		send_all(fd, out, size);
		receive_all(fd, in, size);
		done = now_ns();
		if (start >= counted)
			latencies_add(&l, done - start);
		start = done;
	}
	if (memcmp(in, out, size)) {
		errno = EBADMSG;
		fail("echo differs");
	}
	print_latencies("rr", &l, (double)(start - counted) / 1e9);
	close(fd);
	free(out);
	free(in);
}

static void bulk(const char *host, uint16_t port, double seconds)
{
	char *block = calloc(1, BULK_BLOCK);
	uint64_t begin, end, sent = 0, received = 0;
	int fd = must_dial(host, port);
	double elapsed;

	if (!block)
		fail("block");
	begin = now_ns();
	end = begin + (uint64_t)(seconds * 1e9);
	while (now_ns() < end) {
		send_all(fd, block, BULK_BLOCK);
		sent += BULK_BLOCK;
	}
	shutdown(fd, SHUT_WR);
	receive_all(fd, &received, sizeof(received));
	elapsed = (double)(now_ns() - begin) / 1e9;
	if (received != sent) {
		errno = EBADMSG;
		fail("sent %llu bytes, received %llu", (unsigned long long)sent, (unsigned long long)received);
	}
	printf("{\"mode\": \"bulk\", \"bytes\": %llu, \"seconds\": %.4f, \"gbit_s\": %.4f}\n",
	       (unsigned long long)received, elapsed, (double)received * 8 / elapsed / 1e9);
	close(fd);
	free(block);
}

static void connections(const char *host, uint16_t port, double seconds)
{
	struct latencies l = { 0 };
	uint64_t begin = now_ns(), counted = begin + (uint64_t)(seconds * 1e8), end = begin + (uint64_t)(seconds * 1e9);
	uint64_t start;

	for (start = begin; start < end;) {
		int fd = must_dial(host, port);
		uint64_t done;
		char byte = 'x', more;

		send_all(fd, &byte, 1);
		receive_all(fd, &byte, 1);
		if (recv(fd, &more, 1, 0) != 0)
			fail("expected the end of the stream");
		close(fd);
		done = now_ns();
		if (start >= counted)
			latencies_add(&l, done - start);
		start = done;
	}
	print_latencies("conn", &l, (double)(start - counted) / 1e9);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	int is_rr = !strcmp(mode, "rr");

	if (argc != (is_rr ? 6 : 5) || (!is_rr && strcmp(mode, "bulk") && strcmp(mode, "conn"))) {
		fprintf(stderr, "usage: l4load rr HOST PORT SECONDS SIZE | l4load bulk|conn HOST PORT SECONDS\n");
		return 2;
	}
	if (is_rr) {
		size_t size = strtoul(argv[5], NULL, 10);

		errno = EINVAL;
		if (size < 1 || size > LARGEST)
			fail("size %s", argv[5]);
		round_trips(argv[2], port_of(argv[3]), seconds_of(argv[4]), size);
	} else if (!strcmp(mode, "bulk")) {
		bulk(argv[2], port_of(argv[3]), seconds_of(argv[4]));
	} else {
		connections(argv[2], port_of(argv[3]), seconds_of(argv[4]));
	}
	return 0;
}
