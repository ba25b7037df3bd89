#include "events.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "addr.h"

enum { FP_BELL_DELAY_NS = 20 * 1000 * 1000, FP_SHARE = 2 };

enum { BELL_SILENT, BELL_RUNG, BELL_URGENT };

int fp_bell_open(struct fp_bell *bell)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	*bell = (struct fp_bell){ .fd = fd };
	return 0;
}

void fp_bell_close(struct fp_bell *bell)
{
	close(bell->fd);
	bell->fd = -1;
}

void fp_bell_silence(struct fp_bell *bell)
{
	uint64_t expirations;
	/* Not readable when the reader comes unasked: nothing to consume then. */
	ssize_t n = read(bell->fd, &expirations, sizeof(expirations));
	(void)n;
	/* Sequentially consistent, as is the exchange in ring(): either the worker sees silence and rings, or the drain
	 * that follows here sees its event. */
	atomic_store(&bell->rung, BELL_SILENT);
}

static void ring(struct fp_bell *bell, uint32_t level, long delay_ns)
{
	if (atomic_load(&bell->rung) >= level || atomic_exchange(&bell->rung, level) >= level)
		return;
	struct itimerspec soon = { .it_value.tv_nsec = delay_ns };
	timerfd_settime(bell->fd, 0, &soon, NULL);
}

void fp_bell_ring(struct fp_bell *bell)
{
	ring(bell, BELL_URGENT, 1);
}

int fp_ring_init(struct fp_ring *ring)
{
	memset(ring, 0, sizeof(*ring));
	ring->events = calloc(FP_RING_EVENTS, sizeof(*ring->events));
	return ring->events ? 0 : -ENOMEM;
}

void fp_ring_free(struct fp_ring *ring)
{
	free(ring->events);
	ring->events = NULL;
}

static uint16_t *share_of(struct fp_ring *r, const struct fp_event *event)
{
	return &r->held[(event->netns_cookie * 0x9e3779b97f4a7c15u) >> 56];
}

/* What the reader has taken is still where it was: nobody else writes there. */
static void see_tail(struct fp_ring *r)
{
	uint32_t tail = atomic_load_explicit(&r->tail, memory_order_acquire);
	for (; r->seen_tail != tail; r->seen_tail++)
		--*share_of(r, &r->events[r->seen_tail % FP_RING_EVENTS]);
}

void fp_ring_push(struct fp_ring *r, struct fp_bell *bell, const struct fp_event *event)
{
	uint32_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
	if (head - r->seen_tail >= FP_RING_EVENTS / 2)
		see_tail(r);
	uint16_t *held = share_of(r, event);
	/* One pod has two thirds of it at most, however fast its connections come and go: see worker.c. */
	if (*held >= FP_SHARE * (FP_RING_EVENTS - (head - r->seen_tail))) {
		fp_count(&r->lost, event->connections);
		return;
	}
	r->events[head % FP_RING_EVENTS] = *event;
	++*held;
	atomic_store(&r->head, head + 1);
	if (head - r->seen_tail >= FP_RING_EVENTS / 2)
		ring(bell, BELL_URGENT, 1);
	else
		ring(bell, BELL_RUNG, FP_BELL_DELAY_NS);
}

static bool alike(const struct fp_event *a, const struct fp_event *b)
{
	return fp_addr_equal(&a->client, &b->client) && fp_addr_equal(&a->endpoint, &b->endpoint) &&
	       fp_addr_equal(&a->dst, &b->dst) && a->netns_cookie == b->netns_cookie && a->service == b->service &&
	       a->reason == b->reason && a->dst_port_be == b->dst_port_be &&
	       a->endpoint_port_be == b->endpoint_port_be && a->inbound == b->inbound && a->caller == b->caller &&
	       a->policies == b->policies && !memcmp(&a->decision, &b->decision, sizeof(a->decision));
}

static uint32_t slot_of(const struct fp_event *event)
{
	uint64_t h = fp_address_hash(&event->endpoint, event->endpoint_port_be) ^ event->netns_cookie;
	h = fp_address_hash(&event->client, (uint16_t)event->reason) + h * 0x9e3779b97f4a7c15u;
	h += event->service * 0x9e3779b97f4a7c15u;
	return (uint32_t)(h >> 32) % FP_TALLY_SLOTS;
}

void fp_tally_add(struct fp_tally *tally, struct fp_ring *ring, struct fp_bell *bell, const struct fp_event *event,
		  uint64_t now_ns)
{
	uint32_t place = slot_of(event);
	struct fp_event *sum = &tally->slots[place];
	if (tally->used[place] && alike(sum, event)) {
		sum->opened += event->opened;
		sum->connections += event->connections;
		sum->duration_ns += event->duration_ns;
		sum->bytes_to_server += event->bytes_to_server;
		sum->bytes_to_client += event->bytes_to_client;
		return;
	}
	if (tally->used[place]) {
		fp_ring_push(ring, bell, sum);
	} else {
		if (!tally->count)
			tally->due_ns = now_ns + FP_TALLY_DELAY_NS;
		tally->filled[tally->count++] = (uint16_t)place;
	}
	*sum = *event;
	tally->used[place] = true;
}

void fp_tally_tell(struct fp_tally *tally, struct fp_ring *ring, struct fp_bell *bell)
{
	while (tally->count) {
		uint16_t place = tally->filled[--tally->count];
		fp_ring_push(ring, bell, &tally->slots[place]);
		tally->used[place] = false;
	}
}

uint32_t fp_ring_drain(struct fp_ring *ring, struct fp_event *ret_events, uint32_t max)
{
	uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	uint32_t head = atomic_load(&ring->head), n = 0;
	for (; n < max && tail != head; n++, tail++)
		ret_events[n] = ring->events[tail % FP_RING_EVENTS];
	atomic_store_explicit(&ring->tail, tail, memory_order_release);
	return n;
}
