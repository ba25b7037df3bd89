/* From what was dialled to an open stream: service, endpoint, attempts. Knows no connection: whoever wants an upstream
 * embeds one and is called back. */
#ifndef FP_UPSTREAM_H
#define FP_UPSTREAM_H
#include "dial.h"
#include "fp_reason.h"
#include "hold.h"
#include "image.h"
#include "lb.h"
#include "loop.h"

/* Endpoints that are tried, and how long one has in its first family before it is tried in the other one as well: the
 * delay that RFC 8305 recommends to clients, who leave it to us. */
enum { FP_ATTEMPTS = 3, FP_OTHER_FAMILY_MS = 250 };

/* What the upstreams of one worker share. */
struct fp_upstreams {
	struct fp_dialer *dialer;
	struct fp_hold *hold;
	struct fp_random random;
	struct fp_timers timeouts; /* of attempts: the same for all ... */
	struct fp_timers others;   /* ... whose service does not ask for another one */
	uint64_t timeout_ns;       /* of each of the former */
	struct fp_timers delays;   /* of the other family */
};

/* Who wanted what, and what was chosen. */
struct fp_choice {
	uint32_t service; /* number; as given until an image has said it */
	uint16_t endpoint_port_be;
	struct tg_addr endpoint; /* of the last attempt; all zero if there was none */
};

struct fp_upstream {
	struct fp_upstreams *upstreams;
	struct fp_origin from;
	struct fp_asked asked; /* the draw is ours */
	uint16_t dst_port_be;
	uint32_t row;  /* number that the kernel's row has */
	bool straight; /* to asked.dst itself, whatever the image says of it; one attempt */
	/* where it counts as one of its service's connections; NULL = they are not bounded */
	struct fp_target *counted;
	/* what is known of the endpoint of the last attempt, which is counted up; NULL = nobody wants to know */
	struct fp_target *watched;
	uint8_t tried_count;
	bool lent; /* the last target of `tried` is counted up */
	struct fp_target *tried[FP_ATTEMPTS];
	/* under way, in the endpoint's own family and in the other; NULL = none */
	struct fp_stream *attempt[2];
	struct tg_addr address[2]; /* of either */
	struct tg_addr other;      /* of the endpoint, as long as it has not been tried; unset = none */
	enum fp_reason failure;    /* of the first of the two that failed */
	struct fp_timer timeout;
	struct fp_timer delay;
	struct fp_choice choice;
	uint32_t idle_ms, duration_ms; /* how long what comes of it may live, as its service says; 0 = any */
	/* Called once, perhaps before fp_upstream_open() returns: with a stream, which is the callee's, or with NULL and
	 * why there is none. */
	void (*opened)(struct fp_upstream *upstream, struct fp_stream *stream, enum fp_reason failure);
};

void fp_upstreams_init(struct fp_upstreams *upstreams, struct fp_loop *loop, struct fp_dialer *dialer,
		       struct fp_hold *hold, uint64_t timeout_ns);
/* Whether it depends on what the client says first where this leads. */
bool fp_upstream_wants_name(struct fp_upstream *upstream, struct fp_upstreams *upstreams);
/* `from`, `asked`, `dst_port_be`, `row` and `choice.service` are set; the rest is zero. Endpoints that fail are passed over, within FP_ATTEMPTS
 * and none twice. */
void fp_upstream_open(struct fp_upstream *upstream, struct fp_upstreams *upstreams,
		      void (*opened)(struct fp_upstream *, struct fp_stream *, enum fp_reason));
/* The endpoint is no longer used; an attempt under way is given up and nobody called. Once or more often. */
void fp_upstream_close(struct fp_upstream *upstream);
#endif
