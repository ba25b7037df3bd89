/* What the agent may ask of the relay and what it is answered, without the sockets (main.c) on which that comes.
 *
 * One thread. Every request is checked against the size and the descriptors of its kind before anything of it is used. */
#ifndef FP_CONTROL_H
#define FP_CONTROL_H
#include "fastpath.h"

#include "base.h"
#include "channel.h"

/* Who asks: one connection of the control socket. */
struct fp_peer {
	uint32_t version; /* as it said in FP_HELLO; 0 = it has not yet */
};

struct fp_control {
	struct fp_engine *engine; /* NULL before FP_CONFIGURE */
	/* as asked for, to compare with; flows_fd and wishes_fd are our own descriptors */
	struct fp_config config;
	bool draining;
	bool stopping;                  /* FP_STOP: whoever runs the loop is to end */
	const struct fp_peer *follower; /* who gets events, or NULL */
	uint32_t batch_serial;
	uint32_t batch_count; /* events that were sent or are to be, and are not taken yet */
	bool batch_sent;      /* to the follower */
	struct fp_event batch[FP_EVENTS_BATCH];
};

/* What to do with a request once it has been dealt with. */
enum fp_verdict { FP_ANSWER, FP_SILENCE, FP_HANG_UP };

/* Deal with one request. Descriptors that are kept leave the request; FP_ANSWER: send ret_answer, then close its descriptors. */
enum fp_verdict fp_control_ask(struct fp_control *control, struct fp_peer *peer, struct fp_packet *request,
			       struct fp_packet *ret_answer);
/* The next events for the follower; false if there are none, or the last ones are not taken yet. */
bool fp_control_events(struct fp_control *control, struct fp_packet *ret_packet);
/* A connection is gone; events that it did not take are kept for the next follower. */
void fp_control_left(struct fp_control *control, const struct fp_peer *peer);
/* Nobody listens and nothing lives any more; ret_events: how many events nobody has taken. */
bool fp_control_is_over(struct fp_control *control, uint32_t *ret_events);
/* Whether new events are to be fetched when they come. */
bool fp_control_wants_events(const struct fp_control *control);
/* Reset what lives. */
void fp_control_end(struct fp_control *control);
#endif
