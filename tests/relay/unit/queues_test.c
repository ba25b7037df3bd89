/* The inbox with several producers, the event ring with a reader on another thread, a slab whose things others give back; run under ThreadSanitizer too. */
#include <poll.h>
#include <pthread.h>
#include <string.h>

#include "../../../agent/relay/events.h"
#include "../../../agent/relay/inbox.h"
#include "../../../agent/relay/slab.h"
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

enum { THINGS = 128, ROUNDS = 200 };

static struct fp_slab slab;

static void *give_back(void *arg)
{
	struct fp_message message;
	for (int got = 0; got < ROUNDS * THINGS;) {
		wait_readable(inbox.wake_fd);
		fp_inbox_wakened(&inbox);
		for (; fp_inbox_take(&inbox, &message); got++)
			fp_slab_return(&slab, message.conn);
	}
	return arg;
}

/* However often all of a chunk are taken and given back by another thread, it is the same chunk, and none is there twice. */
static void what_others_give_back_is_found_again(void)
{
	static void *taken[THINGS];
	pthread_t thread;
	CHECK(fp_inbox_init(&inbox) == 0);
	fp_slab_init(&slab, 100);
	CHECK(pthread_create(&thread, NULL, give_back, NULL) == 0);
	const struct fp_slab_chunk *chunk = NULL;
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < THINGS; i++) {
			/* Only what is there, once the first chunk is. */
			while (round && !slab.free && !atomic_load(&slab.returned))
				sched_yield();
			taken[i] = fp_slab_take(&slab);
			CHECK(taken[i]);
			memset(taken[i], i, 100);
			chunk = chunk ? chunk : slab.chunks;
		}
		CHECK(slab.chunks == chunk);
		for (int i = 0; i < THINGS; i++) {
			CHECK(((unsigned char *)taken[i])[99] == i);
			struct fp_message message = { .kind = FP_MSG_JOIN, .conn = taken[i] };
			CHECK(fp_inbox_post(&inbox, &message));
		}
	}
	pthread_join(thread, NULL);
	fp_slab_clear(&slab);
	fp_inbox_free(&inbox);
}

static struct fp_bell bell;
static struct fp_ring ring;

static void *push(void *arg)
{
	for (uint64_t i = 1; i <= EVENTS; i++) {
		struct fp_event event = { .connections = 1, .bytes_to_client = i, .bytes_to_server = ~i };
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
				CHECK(events[i].bytes_to_client > last &&
				      events[i].bytes_to_server == ~events[i].bytes_to_client);
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

static uint64_t push_of(uint64_t pod, int count)
{
	const uint64_t lost = fp_counted(&ring.lost);
	for (int i = 0; i < count; i++) {
		struct fp_event event = { .connections = 1, .netns_cookie = pod };
		fp_ring_push(&ring, &bell, &event);
	}
	return (uint64_t)count - (fp_counted(&ring.lost) - lost);
}

/* A pod whose connections come and go faster than anybody reads has two thirds of the ring; another's events find room, and what
 * was read is free for either. */
static void a_pod_leaves_room_in_the_ring(void)
{
	enum { GREEDY = 7, NEIGHBOUR = 8, TWO_THIRDS = (2 * FP_RING_EVENTS + 2) / 3 };
	static struct fp_event events[FP_RING_EVENTS];
	CHECK(fp_bell_open(&bell) == 0 && fp_ring_init(&ring) == 0);
	for (int round = 0; round < 3; round++) {
		CHECK(push_of(GREEDY, 2 * FP_RING_EVENTS) == TWO_THIRDS);
		CHECK(push_of(NEIGHBOUR, 800) == 800);
		CHECK(push_of(GREEDY, 1) == 0);
		CHECK(fp_ring_drain(&ring, events, FP_RING_EVENTS) == TWO_THIRDS + 800);
	}
	fp_ring_free(&ring);
	fp_bell_close(&bell);
}

/* Three kinds of connection that end in turn, then more kinds than there are places: sums, nothing lost or invented. */
static void tally_sums_what_is_alike(void)
{
	enum { KINDS = 3, ROUNDS = 100, MANY = 2 * FP_TALLY_SLOTS };
	static struct fp_tally tally;
	static struct fp_event events[ROUNDS * KINDS + MANY];
	uint64_t connections = 0, bytes = 0;
	CHECK(fp_bell_open(&bell) == 0 && fp_ring_init(&ring) == 0);
	for (int i = 0; i < KINDS * ROUNDS; i++) {
		struct fp_event event = { .connections = 1, .service = (uint32_t)(i % KINDS), .bytes_to_client = 2 };
		fp_tally_add(&tally, &ring, &bell, &event, 1000);
	}
	CHECK(tally.due_ns == 1000 + FP_TALLY_DELAY_NS);
	fp_tally_tell(&tally, &ring, &bell);
	uint32_t n = fp_ring_drain(&ring, events, KINDS * ROUNDS);
	CHECK(n == KINDS && tally.count == 0);
	for (uint32_t i = 0; i < n; i++)
		CHECK(events[i].connections == ROUNDS && events[i].bytes_to_client == 2 * ROUNDS);
	for (int i = 0; i < 2 * MANY; i++) {
		struct fp_event event = { .connections = 1, .service = (uint32_t)(i % MANY), .bytes_to_client = 1 };
		fp_tally_add(&tally, &ring, &bell, &event, 1000);
	}
	fp_tally_tell(&tally, &ring, &bell);
	while ((n = fp_ring_drain(&ring, events, KINDS * ROUNDS)) > 0) {
		for (uint32_t i = 0; i < n; i++) {
			CHECK(events[i].connections == events[i].bytes_to_client);
			connections += events[i].connections;
			bytes += events[i].bytes_to_client;
		}
	}
	CHECK(connections == 2 * MANY && bytes == 2 * MANY && fp_counted(&ring.lost) == 0);
	fp_ring_free(&ring);
	fp_bell_close(&bell);
}

int main(void)
{
	inbox_keeps_everything_in_order();
	what_others_give_back_is_found_again();
	ring_loses_only_what_it_counts();
	a_pod_leaves_room_in_the_ring();
	tally_sums_what_is_alike();
	return 0;
}
