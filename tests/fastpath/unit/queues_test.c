/* The inbox with several producers and the event ring with a reader on another thread; run under ThreadSanitizer too. */
#include <poll.h>
#include <pthread.h>
#include <string.h>

#include "../../../agent/fastpath/events.h"
#include "../../../agent/fastpath/inbox.h"
#include "check.h"

enum { PRODUCERS = 3, EACH = 20000, EVENTS = 30000 };

static struct fp_inbox inbox;

static void wait_readable(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	CHECK(poll(&poll_fd, 1, 10000) == 1); /* a lost wake-up ends here */
}

static void *produce(void *arg)
{
	struct fp_message message = { .kind = FP_MSG_ADOPT, .peer_port_be = (uint16_t)(uintptr_t)arg };
	for (int i = 0; i < EACH; i++) {
		message.fd = i;
		while (!fp_inbox_post(&inbox, &message))
			sched_yield();
	}
	return NULL;
}

static void inbox_keeps_everything_in_order(void)
{
	pthread_t threads[PRODUCERS];
	int next[PRODUCERS] = { 0 };
	CHECK(fp_inbox_init(&inbox) == 0);
	for (uintptr_t i = 0; i < PRODUCERS; i++)
		CHECK(pthread_create(&threads[i], NULL, produce, (void *)i) == 0);
	for (int total = 0; total < PRODUCERS * EACH;) {
		struct fp_message message;
		wait_readable(inbox.wake_fd);
		fp_inbox_wakened(&inbox);
		for (; fp_inbox_take(&inbox, &message); total++) {
			CHECK(message.peer_port_be < PRODUCERS);
			CHECK(message.fd == next[message.peer_port_be]++);
		}
	}
	for (int i = 0; i < PRODUCERS; i++)
		pthread_join(threads[i], NULL);
	struct fp_message message = { .kind = FP_MSG_RETIRE };
	int posted = 0;
	while (fp_inbox_post(&inbox, &message))
		posted++;
	CHECK(posted == FP_INBOX_SLOTS);
	CHECK(fp_inbox_take(&inbox, &message) && fp_inbox_post(&inbox, &message));
	fp_inbox_free(&inbox);
}

static struct fp_bell bell;
static struct fp_ring ring;

static void *push(void *arg)
{
	for (uint64_t i = 1; i <= EVENTS; i++) {
		struct fp_event event = { .bytes_to_client = i, .bytes_to_server = ~i };
		fp_ring_push(&ring, &bell, &event);
	}
	return arg;
}

static void ring_loses_only_what_it_counts(void)
{
	static struct fp_event events[512];
	uint64_t last = 0, seen = 0;
	pthread_t thread;
	CHECK(fp_bell_open(&bell) == 0 && fp_ring_init(&ring) == 0);
	CHECK(pthread_create(&thread, NULL, push, NULL) == 0);
	while (last < EVENTS && seen + fp_counted(&ring.lost) < EVENTS) {
		uint32_t n;
		wait_readable(bell.fd);
		fp_bell_silence(&bell);
		do {
			n = fp_ring_drain(&ring, events, 512);
			for (uint32_t i = 0; i < n; i++) {
				CHECK(events[i].bytes_to_client > last && events[i].bytes_to_server == ~events[i].bytes_to_client);
				last = events[i].bytes_to_client;
			}
			seen += n;
		} while (n);
	}
	pthread_join(thread, NULL);
	CHECK(seen + fp_counted(&ring.lost) == EVENTS);
	fp_ring_free(&ring);
	fp_bell_close(&bell);
}

int main(void)
{
	inbox_keeps_everything_in_order();
	ring_loses_only_what_it_counts();
	return 0;
}
