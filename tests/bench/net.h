/* Sockets and latencies for the load tools: what all four programs need, once. */
#ifndef TG_BENCH_NET_H
#define TG_BENCH_NET_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Print what failed with errno and leave: a benchmark that went wrong must not print a number. */
__attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...);

/* Listening socket on [::]:port for both families. */
int listen_on(uint16_t port);

/* Connected TCP socket with TCP_NODELAY; -1 with errno set on failure. */
int dial(const char *host, uint16_t port);

/* Exactly `size` bytes or fail(). */
void send_all(int fd, const void *data, size_t size);
void receive_all(int fd, void *data, size_t size);

uint16_t port_of(const char *text);
double seconds_of(const char *text);
uint64_t now_ns(void);

/* Every single latency is kept: percentiles are exact, and a run of some seconds stays below some tens of MB. */
struct latencies {
	uint32_t *ns;
	size_t count, room;
	uint64_t total_ns;
};

void latencies_add(struct latencies *l, uint64_t ns);
/* Microseconds; sorts. 0 when there are none. */
double latencies_percentile(struct latencies *l, double percent);
double latencies_mean(const struct latencies *l);

#endif
