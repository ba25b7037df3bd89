/* What became of connections, on its way to Python: one single-producer ring per worker, one bell for all. */
#ifndef FP_EVENTS_H
#define FP_EVENTS_H
#include "fastpath.h"

#include "base.h"

/* Pods are told apart by 256 values of a hash: two that share one share its part of the ring. */
enum { FP_RING_EVENTS = 4096, FP_RING_SHARES = 256 };

/* A timer descriptor that becomes readable a little after the first event since the last drain. A plain eventfd would
 * wake the reader for every connection, and on a busy core each wake costs more than the connection itself. */
struct fp_bell {
	int fd;
	_Atomic uint32_t rung;
};

struct fp_ring {
	_Alignas(FP_CACHELINE) _Atomic uint32_t head; /* written by the worker */
	fp_counter lost;
	/* the worker's copy of tail, refreshed when it looks full */
	uint32_t seen_tail;
	uint16_t held[FP_RING_SHARES];                /* of what lies between seen_tail and head, by share */
	_Alignas(FP_CACHELINE) _Atomic uint32_t tail; /* written by the reader */
	struct fp_event *events;
};

/* Events of connections that are alike, summed before they go into the ring: telling Python of each costs more than a quarter
 * of what the worker does for a short connection. Direct-mapped: another kind that wants the place pushes out what is
 * in it, so memory is bounded, nothing is lost, and the worst case is the ring as it was. One worker's own. */
enum { FP_TALLY_SLOTS = 256, FP_TALLY_DELAY_NS = 100 * 1000 * 1000 };

struct fp_tally {
	struct fp_event slots[FP_TALLY_SLOTS];
	bool used[FP_TALLY_SLOTS];
	uint16_t filled[FP_TALLY_SLOTS]; /* which are used */
	uint32_t count;
	/* CLOCK_MONOTONIC; when filled[] is to be told, meaningful if count > 0 */
	uint64_t due_ns;
};

void fp_bell_ring(struct fp_bell *bell);
fp_must_check int fp_bell_open(struct fp_bell *bell);
void fp_bell_close(struct fp_bell *bell);
/* Reader: silence before draining, so that an event pushed meanwhile rings again. */
void fp_bell_silence(struct fp_bell *bell);

fp_must_check int fp_ring_init(struct fp_ring *ring);
void fp_ring_free(struct fp_ring *ring);
/* Counted as lost when it is full, or when the event's pod has twice as much of it as is free. */
void fp_ring_push(struct fp_ring *ring, struct fp_bell *bell, const struct fp_event *event);
/* now_ns: CLOCK_MONOTONIC. */
void fp_tally_add(struct fp_tally *tally, struct fp_ring *ring, struct fp_bell *bell, const struct fp_event *event,
		  uint64_t now_ns);
/* Move all sums into the ring. */
void fp_tally_tell(struct fp_tally *tally, struct fp_ring *ring, struct fp_bell *bell);
uint32_t fp_ring_drain(struct fp_ring *ring, struct fp_event *ret_events, uint32_t max);
#endif
