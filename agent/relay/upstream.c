#include "upstream.h"

#include "image.h"

static enum fp_reason reason_of(int error)
{
	switch (error) {
	case ECONNREFUSED:
		return FP_CLOSE_CONNECT_REFUSED;
	case ETIMEDOUT:
		return FP_CLOSE_CONNECT_TIMEOUT;
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ENOBUFS:
		return FP_CLOSE_NO_MEMORY;
	default:
		return FP_CLOSE_CONNECT_FAILED;
	}
}

void fp_upstreams_init(struct fp_upstreams *upstreams, struct fp_loop *loop, struct fp_dialer *dialer,
		       struct fp_hold *hold, uint64_t timeout_ns)
{
	upstreams->dialer = dialer;
	upstreams->hold = hold;
	upstreams->timeout_ns = timeout_ns;
	fp_loop_add_timers(loop, &upstreams->timeouts);
	fp_loop_add_timers(loop, &upstreams->others);
}

/* The attempt, and the endpoint that was lent for it. */
static void give_up(struct fp_upstream *upstream)
{
	if (upstream->attempt)
		upstream->attempt->ops->close(upstream->attempt, FP_STREAM_RESET);
	upstream->attempt = NULL;
	fp_timer_stop(&upstream->timeout);
	/* Release: the target may be freed once the control thread sees zero. */
	if (upstream->lent)
		atomic_fetch_sub_explicit(&upstream->tried[upstream->tried_count - 1]->live, 1, memory_order_release);
	upstream->lent = false;
}

void fp_upstream_close(struct fp_upstream *upstream)
{
	give_up(upstream);
	if (upstream->counted)
		atomic_fetch_sub_explicit(&upstream->counted->live, 1, memory_order_release);
	upstream->counted = NULL;
}

/* Whether the service may have one connection more; it has it then, whatever becomes of the attempts. */
static bool count_in(struct fp_upstream *upstream, const struct fp_service *service)
{
	struct fp_target *counter = service->counter;
	if (!counter || upstream->counted)
		return true;
	if (atomic_fetch_add_explicit(&counter->live, 1, memory_order_relaxed) >= service->settings.max_connections) {
		atomic_fetch_sub_explicit(&counter->live, 1, memory_order_release);
		return false;
	}
	upstream->counted = counter;
	return true;
}

static void changed(struct fp_stream *stream, bool room);

static int attempt(struct fp_upstream *upstream, const struct fp_endpoint *endpoint, const struct fp_settings *settings)
{
	const uint64_t asked_ns = (uint64_t)settings->connect_timeout_ms * 1000000;
	struct fp_upstreams *upstreams = upstream->upstreams;
	int rc = upstreams->dialer->dial(upstreams->dialer, &upstream->from, &endpoint->addr, endpoint->port_be,
					 &upstream->attempt);
	if (rc)
		return rc;
	fp_stream_use(upstream->attempt, changed, upstream);
	fp_timer_start(asked_ns ? &upstreams->others : &upstreams->timeouts, &upstream->timeout,
		       fp_clock_ns() + (asked_ns ? asked_ns : upstreams->timeout_ns));
	return 0;
}

/* Begin with the next endpoint, or tell that there is none and why. `failure`: of the attempt before. */
static void try_next(struct fp_upstream *upstream, enum fp_reason failure)
{
	struct fp_upstreams *upstreams = upstream->upstreams;
	/* Looked up again for every attempt: the endpoint that refused may be why there is a newer image. */
	struct fp_image *image = fp_hold_image(upstreams->hold);
	struct fp_service *service = image ? fp_image_find(image, &upstream->dst, upstream->dst_port_be) : NULL;
	if (service)
		upstream->choice.service = service->number;
	else if (!upstream->tried_count)
		failure = FP_CLOSE_NO_SERVICE;
	if (service && !count_in(upstream, service)) {
		failure = FP_CLOSE_MAX_CONNECTIONS;
		service = NULL;
	}
	if (service)
		upstream->from.keepalive = service->settings.keepalive;
	while (service && upstream->tried_count < FP_ATTEMPTS) {
		const struct fp_endpoint *endpoint =
			fp_lb_pick(image, service, upstream->client, &upstreams->random, upstream->tried,
				   upstream->tried_count);
		if (!endpoint) {
			if (!upstream->tried_count)
				failure = FP_CLOSE_NO_ENDPOINT;
			break;
		}
		upstream->choice.endpoint = endpoint->addr;
		upstream->choice.endpoint_port_be = endpoint->port_be;
		upstream->tried[upstream->tried_count++] = endpoint->target;
		upstream->lent = true;
		atomic_fetch_add_explicit(&endpoint->target->live, 1, memory_order_relaxed);
		int rc = attempt(upstream, endpoint, &service->settings);
		if (rc == 0)
			return;
		give_up(upstream);
		failure = reason_of(-rc);
		if (failure == FP_CLOSE_NO_MEMORY)
			break; /* another endpoint would not help */
	}
	upstream->opened(upstream, NULL, failure);
}

static void changed(struct fp_stream *stream, bool room)
{
	struct fp_upstream *upstream = stream->user;
	(void)room;
	if (stream->writable) {
		/* Perhaps dead already: an endpoint that answered has had this connection, and no other gets it. */
		upstream->attempt = NULL;
		fp_timer_stop(&upstream->timeout);
		upstream->opened(upstream, stream, FP_CLOSE_OK);
	} else if (stream->failed) {
		int error = stream->ops->error(stream);
		give_up(upstream);
		try_next(upstream, reason_of(error));
	}
}

static void timed_out(struct fp_timer *timer, uint64_t now_ns)
{
	struct fp_upstream *upstream = fp_container(timer, struct fp_upstream, timeout);
	(void)now_ns;
	give_up(upstream);
	try_next(upstream, FP_CLOSE_CONNECT_TIMEOUT);
}

void fp_upstream_open(struct fp_upstream *upstream, struct fp_upstreams *upstreams,
		      void (*opened)(struct fp_upstream *, struct fp_stream *, enum fp_reason))
{
	upstream->upstreams = upstreams;
	upstream->opened = opened;
	fp_timer_init(&upstream->timeout, timed_out);
	try_next(upstream, FP_CLOSE_CONNECT_FAILED);
}
