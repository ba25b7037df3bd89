/* Ended connections on their way to Python: one single-producer ring per worker, one bell for all. */
#ifndef FP_EVENTS_H
#define FP_EVENTS_H
#include "fastpath.h"

#include "base.h"

enum { FP_RING_EVENTS = 4096 };

/* A timer descriptor that becomes readable a little after the first event since the last drain. A plain eventfd would
 * wake the reader for every connection, and on a busy core each wake costs more than the connection itself. */
struct fp_bell {
	int fd;
	_Atomic uint32_t rung;
};

struct fp_ring {
	_Alignas(FP_CACHELINE) _Atomic uint32_t head; /* written by the worker */
	fp_counter lost;
	uint32_t seen_tail;                           /* the worker's copy of tail, refreshed when it looks full */
	_Alignas(FP_CACHELINE) _Atomic uint32_t tail; /* written by the reader */
	struct fp_event *events;
};

void fp_bell_ring(struct fp_bell *bell);
fp_must_check int fp_bell_open(struct fp_bell *bell);
void fp_bell_close(struct fp_bell *bell);
/* Reader: silence before draining, so that an event pushed meanwhile rings again. */
void fp_bell_silence(struct fp_bell *bell);

fp_must_check int fp_ring_init(struct fp_ring *ring);
void fp_ring_free(struct fp_ring *ring);
void fp_ring_push(struct fp_ring *ring, struct fp_bell *bell, const struct fp_event *event);
uint32_t fp_ring_drain(struct fp_ring *ring, struct fp_event *ret_events, uint32_t max);
#endif
