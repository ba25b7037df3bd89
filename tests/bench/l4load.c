/* Load of the L4 benchmarks, one thread, blocking. `l4load MODE HOST PORT SECONDS [SIZE|NAME]`, result as one JSON line.
 *   rr    request and response of SIZE bytes over one connection           (server: echo)
 *   bulk  one stream in one direction, counted by the receiver             (server: sink)
 *   conn  connect, one byte there and back, close, and again               (server: once)
 *   hello connect, the first message of a TLS client that asks for NAME, one byte back, close, and again (server: hello)
 * The first tenth of the time of all but bulk warms up and does not count.
 */
#include "net.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	BULK_BLOCK = 128 * 1024,
	LARGEST = 1 << 20,
	HELLO = 517, /* bytes of a padded one: what OpenSSL and browsers say (RFC 7685) */
	LONGEST_NAME = 200
};

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

/* A ClientHello of TLS 1.3 (RFC 8446, 4.1.2) in one record, as a library's: one key share, padded. */
static void client_hello(unsigned char hello[HELLO], const char *name)
{
	static const unsigned char begin[] = {
		22, 3, 1, (HELLO - 5) >> 8, (HELLO - 5) & 0xff, 1, 0, (HELLO - 9) >> 8, (HELLO - 9) & 0xff, 3, 3,
	};
	static const unsigned char ciphers[] = { 0, 6, 0x13, 0x01, 0x13, 0x02, 0x13, 0x03, 1, 0 };
	static const unsigned char extensions[] = {
		0, 10, 0, 4,  0, 2,  0, 29,              /* supported_groups: x25519 */
		0, 13, 0, 8,  0, 6,  4, 3,  8, 4,  4, 1, /* signature_algorithms */
		0, 43, 0, 3,  2, 3,  4,                  /* supported_versions: 1.3 */
		0, 51, 0, 38, 0, 36, 0, 29, 0, 32,       /* key_share: x25519, and the key follows */
	};
	unsigned char *at = hello, *end = hello + HELLO;
	size_t length = strlen(name), left;

	errno = EINVAL;
	if (!length || length > LONGEST_NAME)
		fail("name %s", name);
	memset(hello, 0, HELLO);
	at = mempcpy(at, begin, sizeof(begin));
	at = (unsigned char *)memset(at, 'r', 32) + 32; /* random */
	*at++ = 32;
	at = (unsigned char *)memset(at, 's', 32) + 32; /* session */
	at = mempcpy(at, ciphers, sizeof(ciphers));
	left = (size_t)(end - at) - 2;
	*at++ = (unsigned char)(left >> 8);
	*at++ = (unsigned char)left;
	at += 3; /* server_name, RFC 6066: 0, and lengths of extension, list and name */
	*at++ = (unsigned char)(length + 5);
	at++;
	*at++ = (unsigned char)(length + 3);
	at += 2;
	*at++ = (unsigned char)length;
	at = mempcpy(at, name, length);
	at = mempcpy(at, extensions, sizeof(extensions));
	at = (unsigned char *)memset(at, 'k', 32) + 32;
	at[1] = 21; /* padding */
	left = (size_t)(end - at) - 4;
	at[2] = (unsigned char)(left >> 8);
	at[3] = (unsigned char)left;
}

static void connections(const char *mode, const char *host, uint16_t port, double seconds, const void *data,
			size_t size)
{
	struct latencies l = { 0 };
	uint64_t begin = now_ns(), counted = begin + (uint64_t)(seconds * 1e8), end = begin + (uint64_t)(seconds * 1e9);
	uint64_t start;

	for (start = begin; start < end;) {
		int fd = must_dial(host, port);
		uint64_t done;
		char byte, more;

		send_all(fd, data, size);
		receive_all(fd, &byte, 1);
		if (recv(fd, &more, 1, 0) != 0)
			fail("expected the end of the stream");
		close(fd);
		done = now_ns();
		if (start >= counted)
			latencies_add(&l, done - start);
		start = done;
	}
	print_latencies(mode, &l, (double)(start - counted) / 1e9);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	int is_rr = !strcmp(mode, "rr"), is_hello = !strcmp(mode, "hello");
	int is_known = is_rr || is_hello || !strcmp(mode, "bulk") || !strcmp(mode, "conn");

	if (!is_known || argc != (is_rr || is_hello ? 6 : 5)) {
		fprintf(stderr, "usage: l4load rr HOST PORT SECONDS SIZE | l4load hello HOST PORT SECONDS NAME | "
				"l4load bulk|conn HOST PORT SECONDS\n");
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
	} else if (is_hello) {
		unsigned char hello[HELLO];

		client_hello(hello, argv[5]);
		connections(mode, argv[2], port_of(argv[3]), seconds_of(argv[4]), hello, sizeof(hello));
	} else {
		connections(mode, argv[2], port_of(argv[3]), seconds_of(argv[4]), "x", 1);
	}
	return 0;
}
