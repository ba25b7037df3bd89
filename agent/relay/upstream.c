#include "upstream.h"

#include "addr.h"
#include "health.h"

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
	fp_loop_add_timers(loop, &upstreams->delays);
}

static void end_attempt(struct fp_upstream *upstream, int which)
{
	if (upstream->attempt[which])
		upstream->attempt[which]->ops->close(upstream->attempt[which], FP_STREAM_RESET);
	upstream->attempt[which] = NULL;
}

/* The attempts, and the endpoint that was lent for them. */
static void give_up(struct fp_upstream *upstream)
{
	end_attempt(upstream, 0);
	end_attempt(upstream, 1);
	fp_timer_stop(&upstream->timeout);
	fp_timer_stop(&upstream->delay);
	/* Release: the target may be freed once the control thread sees zero. */
	if (upstream->lent)
		atomic_fetch_sub_explicit(&upstream->tried[upstream->tried_count - 1]->live, 1, memory_order_release);
	upstream->lent = false;
}

/* Nothing more is to be said of the last endpoint. */
static void unwatch(struct fp_upstream *upstream)
{
	if (upstream->watched)
		atomic_fetch_sub_explicit(&upstream->watched->live, 1, memory_order_release);
	upstream->watched = NULL;
}

void fp_upstream_close(struct fp_upstream *upstream)
{
	give_up(upstream);
	unwatch(upstream);
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

static int begin(struct fp_upstream *upstream, int which, const struct tg_addr *addr)
{
	struct fp_dialer *dialer = upstream->upstreams->dialer;
	int rc = dialer->dial(dialer, &upstream->from, addr, upstream->choice.endpoint_port_be,
			      &upstream->attempt[which]);
	if (!rc)
		fp_stream_use(upstream->attempt[which], changed, upstream);
	return rc;
}

/* The endpoint in its other family, if it has one that was not tried. */
static int begin_other(struct fp_upstream *upstream)
{
	const struct tg_addr other = upstream->other;
	if (fp_addr_is_unset(&other))
		return -ECONNREFUSED;
	upstream->other = (struct tg_addr){ 0 };
	fp_timer_stop(&upstream->delay);
	upstream->address[1] = other;
	return begin(upstream, 1, &other);
}

static int attempt(struct fp_upstream *upstream, const struct fp_endpoint *endpoint, const struct fp_settings *settings)
{
	const uint64_t asked_ns = (uint64_t)settings->connect_timeout_ms * 1000000;
	struct fp_upstreams *upstreams = upstream->upstreams;
	const uint64_t now_ns = fp_clock_ns();
	upstream->other = endpoint->other;
	upstream->address[0] = upstream->choice.endpoint;
	upstream->failure = FP_CLOSE_OK;
	int rc = begin(upstream, 0, &upstream->address[0]);
	if (rc) {
		upstream->failure = reason_of(-rc);
		if (upstream->failure == FP_CLOSE_NO_MEMORY || begin_other(upstream))
			return rc;
	}
	fp_timer_start(asked_ns ? &upstreams->others : &upstreams->timeouts, &upstream->timeout,
		       now_ns + (asked_ns ? asked_ns : upstreams->timeout_ns));
	if (!fp_addr_is_unset(&upstream->other))
		fp_timer_start(&upstreams->delays, &upstream->delay, now_ns + FP_OTHER_FAMILY_MS * (uint64_t)1000000);
	return 0;
}

static struct fp_service *find_dialled(struct fp_upstream *upstream, struct fp_upstreams *upstreams)
{
	struct fp_image *image = fp_hold_image(upstreams->hold);
	return image ? fp_image_find(image, &upstream->asked.dst, upstream->dst_port_be, upstream->row) : NULL;
}

/* The service whose endpoint is next; NULL and why there is none. Looked up again for every attempt: the endpoint that refused
 * may be why there is a newer image. */
static struct fp_service *find_service(struct fp_upstream *upstream, enum fp_reason *failure)
{
	struct fp_service *dialled = find_dialled(upstream, upstream->upstreams), *service = NULL;
	if (!dialled) {
		*failure = upstream->tried_count ? *failure : FP_CLOSE_NO_SERVICE;
		return NULL;
	}
	if (!upstream->tried_count)
		upstream->choice.service = dialled->number;
	if (!fp_image_route(fp_hold_image(upstream->upstreams->hold), dialled, &upstream->asked, &service)) {
		*failure = upstream->tried_count ? *failure : FP_CLOSE_NO_ROUTE;
		return NULL;
	}
	if (!service) {
		*failure = upstream->tried_count ? *failure : FP_CLOSE_NO_ENDPOINT;
		return NULL;
	}
	upstream->choice.service = service->number;
	if (count_in(upstream, service))
		return service;
	*failure = FP_CLOSE_MAX_CONNECTIONS;
	return NULL;
}

/* An attempt at the last endpoint failed, which was one of this service, if a new image says no other. */
static void judge(struct fp_upstream *upstream, const struct fp_image *image, const struct fp_service *service)
{
	if (upstream->watched && service && service->number == upstream->watched->of)
		fp_health_bad(image, service, upstream->watched, fp_clock_ns());
	unwatch(upstream);
}

static void use(struct fp_upstream *upstream, const struct fp_endpoint *endpoint)
{
	const bool straight = fp_addr_is_unset(&endpoint->addr);
	upstream->choice.endpoint = straight ? upstream->asked.dst : endpoint->addr;
	upstream->choice.endpoint_port_be = endpoint->port_be ? endpoint->port_be : upstream->dst_port_be;
	upstream->tried[upstream->tried_count++] = endpoint->target;
	upstream->lent = true;
	atomic_fetch_add_explicit(&endpoint->target->live, 1, memory_order_relaxed);
	upstream->watched = endpoint->watched;
	if (upstream->watched)
		atomic_fetch_add_explicit(&upstream->watched->live, 1, memory_order_relaxed);
}

/* An attempt may have come to its end while it was begun. */
static void look_at_once(struct fp_upstream *upstream)
{
	struct fp_stream *first = upstream->attempt[0] ? upstream->attempt[0] : upstream->attempt[1];
	if (first->writable)
		changed(first, true);
}

/* To what was dialled and nothing else. */
static void try_straight(struct fp_upstream *upstream)
{
	const struct fp_endpoint endpoint = { .addr = upstream->asked.dst };
	const struct fp_settings settings = { 0 };
	upstream->choice.endpoint = upstream->asked.dst;
	upstream->choice.endpoint_port_be = upstream->dst_port_be;
	int rc = attempt(upstream, &endpoint, &settings);
	if (!rc) {
		look_at_once(upstream);
		return;
	}
	give_up(upstream);
	upstream->opened(upstream, NULL, reason_of(-rc));
}

/* Begin with the next endpoint, or tell that there is none and why. `failure`: of the attempt before. */
static void try_next(struct fp_upstream *upstream, enum fp_reason failure)
{
	if (upstream->straight) {
		upstream->opened(upstream, NULL, failure);
		return;
	}
	struct fp_upstreams *upstreams = upstream->upstreams;
	struct fp_service *service = find_service(upstream, &failure);
	struct fp_image *image = fp_hold_image(upstreams->hold);
	judge(upstream, image, service);
	if (service) {
		upstream->from.keepalive = service->settings.keepalive;
		upstream->idle_ms = service->settings.idle_ms;
		upstream->duration_ms = service->settings.duration_ms;
	}
	while (service && upstream->tried_count < FP_ATTEMPTS) {
		const struct fp_endpoint *endpoint =
			fp_lb_pick(image, service, upstream->asked.client, &upstreams->random, upstream->tried,
				   upstream->tried_count);
		if (!endpoint) {
			if (!upstream->tried_count)
				failure = service->turn_count ? FP_CLOSE_NO_HEALTHY : FP_CLOSE_NO_ENDPOINT;
			break;
		}
		use(upstream, endpoint);
		int rc = attempt(upstream, endpoint, &service->settings);
		if (rc == 0) {
			look_at_once(upstream);
			return;
		}
		give_up(upstream);
		failure = reason_of(-rc);
		if (failure == FP_CLOSE_NO_MEMORY)
			break; /* another endpoint would not help */
		judge(upstream, image, service);
	}
	unwatch(upstream);
	upstream->opened(upstream, NULL, failure);
}

static void failed(struct fp_upstream *upstream, int which)
{
	enum fp_reason failure = reason_of(upstream->attempt[which]->ops->error(upstream->attempt[which]));
	end_attempt(upstream, which);
	if (!upstream->failure)
		upstream->failure = failure;
	if (upstream->attempt[!which] || !begin_other(upstream))
		return; /* one is under way */
	failure = upstream->failure;
	give_up(upstream);
	try_next(upstream, failure);
}

static void changed(struct fp_stream *stream, bool room)
{
	struct fp_upstream *upstream = stream->user;
	int which = stream == upstream->attempt[1];
	(void)room;
	if (stream->writable) {
		/* Perhaps dead already: an endpoint that answered has had this connection, and no other gets it. */
		upstream->choice.endpoint = upstream->address[which];
		upstream->attempt[which] = NULL;
		end_attempt(upstream, !which);
		fp_timer_stop(&upstream->timeout);
		fp_timer_stop(&upstream->delay);
		if (upstream->watched)
			fp_health_good(upstream->watched);
		unwatch(upstream);
		upstream->opened(upstream, stream, FP_CLOSE_OK);
	} else if (stream->failed) {
		failed(upstream, which);
	}
}

static void delay_over(struct fp_timer *timer, uint64_t now_ns)
{
	(void)now_ns;
	/* the first one goes on, whatever comes of it */
	(void)begin_other(fp_container(timer, struct fp_upstream, delay));
}

static void timed_out(struct fp_timer *timer, uint64_t now_ns)
{
	struct fp_upstream *upstream = fp_container(timer, struct fp_upstream, timeout);
	(void)now_ns;
	give_up(upstream);
	try_next(upstream, FP_CLOSE_CONNECT_TIMEOUT);
}

bool fp_upstream_wants_name(struct fp_upstream *upstream, struct fp_upstreams *upstreams)
{
	const struct fp_service *dialled = upstream->straight ? NULL : find_dialled(upstream, upstreams);
	const struct fp_view *view = dialled && dialled->views ? fp_image_view_of(fp_hold_image(upstreams->hold),
										  dialled, upstream->asked.client) :
								 NULL;
	return view && view->named;
}

void fp_upstream_open(struct fp_upstream *upstream, struct fp_upstreams *upstreams,
		      void (*opened)(struct fp_upstream *, struct fp_stream *, enum fp_reason))
{
	upstream->upstreams = upstreams;
	upstream->opened = opened;
	fp_timer_init(&upstream->timeout, timed_out);
	fp_timer_init(&upstream->delay, delay_over);
	upstream->asked.draw = (uint32_t)(fp_random_next(&upstreams->random) >> 32);
	if (upstream->straight)
		try_straight(upstream);
	else
		try_next(upstream, FP_CLOSE_CONNECT_FAILED);
}
