/* The callers' side of sandboxes: listeners come, are handed over, go. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine.h"

static struct fp_sandbox **find_sandbox(struct fp_engine *engine, uint64_t netns_cookie)
{
	struct fp_sandbox **link = &engine->sandboxes;
	while (*link && (*link)->cookie != netns_cookie)
		link = &(*link)->next;
	return link;
}

static void forget_sandbox(struct fp_engine *engine, struct fp_sandbox *sandbox)
{
	fp_tell_all(engine, (struct fp_message){ .kind = FP_MSG_UNWATCH, .sandbox = sandbox });
	fp_sandbox_hush(sandbox);
	/* A second round: connections handed over before the first one are in the inboxes ahead of this message. */
	fp_tell_all(engine, (struct fp_message){ .kind = FP_MSG_EVICT, .sandbox = sandbox });
	fp_sandbox_free(sandbox);
}

static int add_sandbox(struct fp_engine *engine, const struct fp_sandbox_config *config, const int *listeners,
		       struct fp_ports *ret_ports)
{
	if (engine->draining)
		return -ESHUTDOWN;
	if (*find_sandbox(engine, config->netns_cookie))
		return -EEXIST;
	struct fp_sandbox *sandbox;
	int rc = fp_sandbox_open(config, listeners, engine->shared.count, &sandbox);
	if (rc)
		return rc;
	rc = fp_tell_all(engine, (struct fp_message){ .kind = FP_MSG_WATCH, .sandbox = sandbox });
	if (rc) {
		forget_sandbox(engine, sandbox);
		return rc;
	}
	sandbox->next = engine->sandboxes;
	engine->sandboxes = sandbox;
	*ret_ports = sandbox->ports;
	return 0;
}

int fp_sandbox_add(struct fp_engine *engine, const struct fp_sandbox_config *config, struct fp_ports *ret_ports)
{
	pthread_mutex_lock(&engine->turn);
	int rc = add_sandbox(engine, config, NULL, ret_ports);
	pthread_mutex_unlock(&engine->turn);
	return rc;
}

int fp_sandbox_take(struct fp_engine *engine, const struct fp_sandbox_config *config, const int listeners[FP_LISTENERS],
		    struct fp_ports *ret_ports)
{
	pthread_mutex_lock(&engine->turn);
	int rc = add_sandbox(engine, config, listeners, ret_ports);
	pthread_mutex_unlock(&engine->turn);
	return rc;
}

int fp_sandbox_remove(struct fp_engine *engine, uint64_t netns_cookie)
{
	pthread_mutex_lock(&engine->turn);
	struct fp_sandbox **link = find_sandbox(engine, netns_cookie), *sandbox = *link;
	if (sandbox) {
		*link = sandbox->next;
		forget_sandbox(engine, sandbox);
	}
	pthread_mutex_unlock(&engine->turn);
	return sandbox ? 0 : -ENOENT;
}

static struct fp_sandbox_row row_of(const struct fp_sandbox *sandbox)
{
	return (struct fp_sandbox_row){
		.netns_cookie = sandbox->cookie,
		.flags = sandbox->ports.port6_be ? TG_POD_V6_CAPTURE : 0,
		.ports = sandbox->ports,
	};
}

int fp_sandboxes(struct fp_engine *engine, uint64_t after, struct fp_sandbox_row *ret_rows, uint32_t max)
{
	uint32_t count = 0;
	pthread_mutex_lock(&engine->turn);
	for (struct fp_sandbox *sandbox = engine->sandboxes; sandbox; sandbox = sandbox->next) {
		if (sandbox->cookie <= after)
			continue;
		/* Keep the smallest, in order: insert from behind, the greatest falls out when all places are taken. */
		uint32_t at = count < max ? count++ : max;
		while (at && ret_rows[at - 1].netns_cookie > sandbox->cookie) {
			if (at < max)
				ret_rows[at] = ret_rows[at - 1];
			at--;
		}
		if (at < max)
			ret_rows[at] = row_of(sandbox);
	}
	pthread_mutex_unlock(&engine->turn);
	return (int)count;
}

static int hand_over(const struct fp_sandbox *sandbox, int ret_fds[1 + FP_LISTENERS])
{
	const int own[1 + FP_LISTENERS] = { sandbox->netns_fd, sandbox->listener[FP_LISTENER4],
					    sandbox->listener[FP_LISTENER6] };
	if (own[1] < 0)
		return -ESHUTDOWN;
	for (int i = 0; i < 1 + FP_LISTENERS; i++) {
		ret_fds[i] = own[i] < 0 ? -1 : fcntl(own[i], F_DUPFD_CLOEXEC, 0);
		if (ret_fds[i] < 0 && own[i] >= 0) {
			int rc = -errno;
			while (i--)
				close(ret_fds[i]);
			return rc;
		}
	}
	return 0;
}

int fp_sandbox_hand_over(struct fp_engine *engine, uint64_t netns_cookie, struct fp_sandbox_row *ret_row,
			 int ret_fds[1 + FP_LISTENERS])
{
	pthread_mutex_lock(&engine->turn);
	const struct fp_sandbox *sandbox = *find_sandbox(engine, netns_cookie);
	int rc = sandbox ? hand_over(sandbox, ret_fds) : -ENOENT;
	if (!rc)
		*ret_row = row_of(sandbox);
	pthread_mutex_unlock(&engine->turn);
	return rc;
}

int fp_sandboxes_look(struct fp_engine *engine)
{
	int rc = 0;
	pthread_mutex_lock(&engine->turn);
	/* A watch that is put up anew reports what waits already; meanwhile the other workers go on. */
	for (struct fp_sandbox *sandbox = engine->draining ? NULL : engine->sandboxes; sandbox && !rc;
	     sandbox = sandbox->next) {
		fp_tell_all(engine, (struct fp_message){ .kind = FP_MSG_UNWATCH, .sandbox = sandbox });
		rc = fp_tell_all(engine, (struct fp_message){ .kind = FP_MSG_WATCH, .sandbox = sandbox });
	}
	pthread_mutex_unlock(&engine->turn);
	return rc;
}
