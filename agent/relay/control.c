#include "control.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "image_file.h"
#include "policy_file.h"

enum { FP_MAPS = 3 }; /* with FP_CONFIGURE, as many as a message has at most */
_Static_assert((int)FP_MAPS <= (int)FP_MESSAGE_FDS, "descriptors");

/* A request by its kind. */
union ask {
	struct fp_head head;
	struct fp_ask_hello hello;
	struct fp_ask_sandboxes sandboxes;
	struct fp_ask_sandbox sandbox;
	struct fp_ask_drain drain;
	struct fp_ask_configure configure;
	struct fp_ask_sandbox_add sandbox_add;
};

_Static_assert(sizeof(struct fp_told_events) + FP_EVENTS_BATCH * sizeof(struct fp_event) <= FP_MESSAGE_MAX,
	       "a message of events");
_Static_assert(sizeof(struct fp_told_sandboxes) + FP_SANDBOXES_BATCH * sizeof(struct fp_sandbox_row) <= FP_MESSAGE_MAX,
	       "a message of sandboxes");

static void *answer_struct(struct fp_packet *answer, size_t size)
{
	/* Behind the head it may be longer than what is filled in: no old bytes leave with it. */
	memset(answer->bytes + sizeof(struct fp_head), 0, size - sizeof(struct fp_head));
	answer->size = size;
	return answer->bytes;
}

static int hello(struct fp_control *control, struct fp_peer *peer, const union ask *ask, struct fp_packet *answer)
{
	struct fp_told_hello *told = answer_struct(answer, sizeof(*told));
	peer->version = ask->hello.version;
	told->version = FP_ABI_VERSION;
	told->state = control->draining ? FP_DRAINING : control->engine ? FP_SERVING : FP_NEW;
	told->generation = control->engine ? fp_generation(control->engine) : 0;
	return peer->version ? 0 : -EPROTO;
}

static int configure(struct fp_control *control, const union ask *ask, struct fp_packet *request)
{
	struct fp_config config = ask->configure.config;
	config.flows_fd = control->config.flows_fd;
	config.wishes_fd = control->config.wishes_fd;
	config.called_fd = control->config.called_fd;
	if (!request->fd_count || request->fd_count > FP_MAPS)
		return -EBADMSG;
	if (control->engine) {
		if (memcmp(&config, &control->config, sizeof(config)) != 0)
			return -EBUSY;
		return fp_engine_flows(control->engine, request->fds[0], request->fds[1], request->fds[2]);
	}
	config.flows_fd = request->fds[0];
	config.wishes_fd = request->fds[1];
	config.called_fd = request->fds[2];
	int rc = fp_engine_start(&config, &control->engine);
	if (rc)
		return rc;
	control->config = config;
	request->fds[0] = request->fds[1] = request->fds[2] = -1; /* the engine's, for good */
	return 0;
}

static int add_sandbox(struct fp_control *control, const union ask *ask, const struct fp_packet *request,
		       struct fp_packet *answer)
{
	struct fp_told_sandbox *told = answer_struct(answer, sizeof(*told));
	const struct fp_sandbox_row *row = &ask->sandbox_add.sandbox;
	uint32_t listeners = row->flags & TG_POD_V6_CAPTURE ? 2 : 1;
	if (row->flags & ~(uint32_t)TG_POD_V6_CAPTURE || (request->fd_count != 1 && request->fd_count != 1 + listeners))
		return -EBADMSG;
	struct fp_sandbox_config wanted = { .netns_cookie = row->netns_cookie,
					    .netns_fd = request->fds[0],
					    .flags = row->flags,
					    .wanted = row->ports };
	const int given[FP_LISTENERS] = { request->fds[1], listeners == 2 ? request->fds[2] : -1 };
	told->sandbox = *row;
	return request->fd_count == 1 ? fp_sandbox_add(control->engine, &wanted, &told->sandbox.ports) :
					fp_sandbox_take(control->engine, &wanted, given, &told->sandbox.ports);
}

static int hand_over(struct fp_control *control, const union ask *ask, struct fp_packet *answer)
{
	struct fp_told_sandbox *told = answer_struct(answer, sizeof(*told));
	int fds[1 + FP_LISTENERS];
	int rc = fp_sandbox_hand_over(control->engine, ask->sandbox.netns_cookie, &told->sandbox, fds);
	for (int i = 0; !rc && i < 1 + FP_LISTENERS; i++) {
		if (fds[i] >= 0)
			answer->fds[answer->fd_count++] = fds[i];
	}
	return rc;
}

static int sandboxes(struct fp_control *control, const union ask *ask, struct fp_packet *answer)
{
	struct fp_sandbox_row *rows = (void *)(answer->bytes + sizeof(struct fp_told_sandboxes));
	int count = control->engine ? fp_sandboxes(control->engine, ask->sandboxes.after, rows, FP_SANDBOXES_BATCH) : 0;
	((struct fp_head *)(void *)answer->bytes)->count = (uint32_t)count;
	answer->size = sizeof(struct fp_told_sandboxes) + (size_t)count * sizeof(*rows);
	return 0;
}

static int publish(struct fp_control *control, const struct fp_packet *request)
{
	struct fp_image *image;
	int rc = request->fd_count == 1 ? fp_image_map(request->fds[0], &image) : -EBADMSG;
	return rc ? rc : fp_publish(control->engine, image);
}

static int policies(struct fp_control *control, const struct fp_packet *request)
{
	struct fp_policies *policies;
	int rc = request->fd_count == 1 ? fp_policies_map(request->fds[0], &policies) : -EBADMSG;
	return rc ? rc : fp_policies_publish(control->engine, policies);
}

static int stats(struct fp_control *control, struct fp_packet *answer)
{
	struct fp_told_stats *told = answer_struct(answer, sizeof(*told));
	fp_stats_read(control->engine, &told->stats);
	return 0;
}

static int drain(struct fp_control *control, const union ask *ask)
{
	control->draining = true;
	return control->engine ? fp_engine_drain(control->engine, ask->drain.ms) : 0;
}

static void follow(struct fp_control *control, const struct fp_peer *peer)
{
	control->follower = peer;
	control->batch_sent = false;
}

static void taken(struct fp_control *control, const struct fp_peer *peer, uint32_t serial)
{
	if (peer != control->follower || !control->batch_sent || serial != control->batch_serial)
		return;
	control->batch_count = 0;
	control->batch_sent = false;
}

/* Bytes of a request; 0 = no such kind. Those of the core, and whether there must be an engine. */
struct shape {
	uint32_t size;
	bool core, engine;
};

static const struct shape shapes[] = {
	[FP_HELLO] = { sizeof(struct fp_ask_hello), true, false },
	[FP_SANDBOXES] = { sizeof(struct fp_ask_sandboxes), true, false },
	[FP_HAND_OVER] = { sizeof(struct fp_ask_sandbox), true, true },
	[FP_DRAIN] = { sizeof(struct fp_ask_drain), true, false },
	[FP_STOP] = { sizeof(struct fp_head), true, false },
	[FP_CONFIGURE] = { sizeof(struct fp_ask_configure), false, false },
	[FP_SANDBOX_ADD] = { sizeof(struct fp_ask_sandbox_add), false, true },
	[FP_SANDBOX_REMOVE] = { sizeof(struct fp_ask_sandbox), false, true },
	[FP_PUBLISH] = { sizeof(struct fp_head), false, true },
	[FP_STATS] = { sizeof(struct fp_head), false, true },
	[FP_FOLLOW] = { sizeof(struct fp_head), false, true },
	[FP_EVENTS_TAKEN] = { sizeof(struct fp_head), false, true },
	[FP_LOOK] = { sizeof(struct fp_head), false, true },
	[FP_POLICIES] = { sizeof(struct fp_head), false, true },
};

static int check(const struct fp_control *control, const struct fp_peer *peer, const struct fp_packet *request,
		 uint32_t kind)
{
	if (kind >= sizeof(shapes) / sizeof(shapes[0]) || !shapes[kind].size)
		return -ENOSYS;
	const struct shape *shape = &shapes[kind];
	if (request->size != shape->size)
		return -EBADMSG;
	if (kind != FP_HELLO && !peer->version)
		return -EPROTO;
	if (!shape->core && peer->version != FP_ABI_VERSION)
		return -EPROTONOSUPPORT;
	return shape->engine && !control->engine ? -ENOTCONN : 0;
}

static int deal_with(struct fp_control *control, struct fp_peer *peer, const union ask *ask, struct fp_packet *request,
		     struct fp_packet *answer)
{
	switch ((enum fp_kind)ask->head.kind) {
	case FP_HELLO:
		return hello(control, peer, ask, answer);
	case FP_SANDBOXES:
		return sandboxes(control, ask, answer);
	case FP_HAND_OVER:
		return hand_over(control, ask, answer);
	case FP_DRAIN:
		return drain(control, ask);
	case FP_STOP:
		control->stopping = true;
		return 0;
	case FP_CONFIGURE:
		return control->draining ? -ESHUTDOWN : configure(control, ask, request);
	case FP_SANDBOX_ADD:
		return add_sandbox(control, ask, request, answer);
	case FP_SANDBOX_REMOVE:
		return fp_sandbox_remove(control->engine, ask->sandbox.netns_cookie);
	case FP_PUBLISH:
		return publish(control, request);
	case FP_POLICIES:
		return policies(control, request);
	case FP_STATS:
		return stats(control, answer);
	case FP_FOLLOW:
		follow(control, peer);
		return 0;
	case FP_LOOK:
		return fp_sandboxes_look(control->engine);
	case FP_EVENTS:
	case FP_EVENTS_TAKEN:
		break;
	}
	return -ENOSYS;
}

enum fp_verdict fp_control_ask(struct fp_control *control, struct fp_peer *peer, struct fp_packet *request,
			       struct fp_packet *ret_answer)
{
	union ask ask = { 0 };
	struct fp_head *head = (void *)ret_answer->bytes;
	if (request->size < sizeof(struct fp_head))
		return FP_HANG_UP;
	memcpy(&ask, request->bytes, request->size < sizeof(ask) ? request->size : sizeof(ask));
	int rc = check(control, peer, request, ask.head.kind);
	if (ask.head.kind == FP_EVENTS_TAKEN) {
		if (!rc)
			taken(control, peer, ask.head.serial);
		return rc ? FP_HANG_UP : FP_SILENCE;
	}
	*head = (struct fp_head){ .kind = ask.head.kind, .serial = ask.head.serial };
	ret_answer->size = sizeof(*head);
	ret_answer->fd_count = 0;
	if (!rc)
		rc = deal_with(control, peer, &ask, request, ret_answer);
	head->result = rc;
	if (rc) {
		fp_packet_close(ret_answer);
		head->count = 0;
		ret_answer->size = sizeof(*head);
	}
	return FP_ANSWER;
}

static void fetch(struct fp_control *control)
{
	if (control->batch_count || !control->engine)
		return;
	int n = fp_events_drain(control->engine, control->batch, FP_EVENTS_BATCH);
	control->batch_count = n > 0 ? (uint32_t)n : 0;
	control->batch_serial += n > 0;
	control->batch_sent = false;
}

bool fp_control_wants_events(const struct fp_control *control)
{
	return control->engine && control->follower && !control->batch_count;
}

bool fp_control_events(struct fp_control *control, struct fp_packet *ret_packet)
{
	if (!control->follower || control->batch_sent)
		return false;
	fetch(control);
	if (!control->batch_count)
		return false;
	struct fp_told_events *told = (void *)ret_packet->bytes;
	size_t bytes = control->batch_count * sizeof(struct fp_event);
	told->head =
		(struct fp_head){ .kind = FP_EVENTS, .serial = control->batch_serial, .count = control->batch_count };
	memcpy(told + 1, control->batch, bytes);
	ret_packet->size = sizeof(*told) + bytes;
	ret_packet->fd_count = 0;
	control->batch_sent = true;
	return true;
}

void fp_control_left(struct fp_control *control, const struct fp_peer *peer)
{
	if (control->follower == peer)
		follow(control, NULL);
}

bool fp_control_is_over(struct fp_control *control, uint32_t *ret_events)
{
	if (!control->draining || (control->engine && !fp_engine_is_over(control->engine)))
		return false;
	if (!control->batch_sent)
		fetch(control);
	*ret_events = control->batch_count;
	return true;
}

void fp_control_end(struct fp_control *control)
{
	if (!control->engine)
		return;
	fp_engine_stop(control->engine, 0);
	fp_engine_free(control->engine);
	close(control->config.flows_fd);
	if (control->config.wishes_fd > 0)
		close(control->config.wishes_fd);
	if (control->config.called_fd > 0)
		close(control->config.called_fd);
	*control = (struct fp_control){ .stopping = true };
}
