/* The callers' side: start and end, images, counters (sandboxes: sandboxes.c). Slow and simple; workers never wait for it. */
#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "defaults.h"
#include "image.h"
#include "policy_file.h"
#include "worker.h"

enum { FP_LOOK_NS = 10 * 1000 * 1000 };

/* Has this worker's thread ended? Only one that was told to retire does. */
static bool has_ended(struct fp_engine *engine, uint32_t i)
{
	if (!engine->ended[i])
		engine->ended[i] = engine->draining && !pthread_tryjoin_np(engine->shared.workers[i]->thread, NULL);
	return engine->ended[i];
}

/* Until the worker has dealt with a message, or has ended and never will. */
static bool wait_for(struct fp_engine *engine, uint32_t i, sem_t *done)
{
	for (bool over = false; !over;) {
		struct timespec until;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += FP_LOOK_NS;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		over = has_ended(engine, i); /* before the wait: what it posted last counts */
		if (!sem_timedwait(done, &until))
			return true;
	}
	return false;
}

int fp_tell_all(struct fp_engine *engine, struct fp_message message)
{
	int result = 0;
	sem_t done;
	sem_init(&done, 0, 0);
	message.done = &done;
	for (uint32_t i = 0; i < engine->shared.count; i++) {
		int one = 0;
		bool over;
		message.ret_result = &one;
		/* Full only while connections are being handed over faster than the worker takes them. */
		while (!(over = has_ended(engine, i)) && !fp_inbox_post(&engine->shared.workers[i]->inbox, &message))
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		if (!over && wait_for(engine, i, &done) && one && !result)
			result = one;
	}
	sem_destroy(&done);
	return result;
}

int fp_engine_start(const struct fp_config *config, struct fp_engine **ret_engine)
{
	if (config->workers > FP_WORKERS_MAX || config->buffer_bytes > 1u << 24)
		return -EINVAL;
	struct fp_engine *engine = aligned_alloc(_Alignof(struct fp_engine), sizeof(*engine));
	if (!engine)
		return -ENOMEM;
	memset(engine, 0, sizeof(*engine));
	pthread_mutex_init(&engine->turn, NULL);
	struct fp_shared *shared = &engine->shared;
	shared->config = *config;
	fp_fill_defaults(&shared->config);
	shared->kmem.most = (uint64_t)shared->config.sockets_mib << 20;
	uint32_t wanted = FP_ROLES * shared->config.workers;
	shared->count = wanted;
	shared->bell.fd = -1;
	shared->workers = calloc(wanted, sizeof(struct fp_worker *));
	engine->ended = calloc(wanted, sizeof(*engine->ended));
	int rc = shared->workers && engine->ended ? fp_bell_open(&shared->bell) : -ENOMEM;
	uint32_t started = 0;
	while (!rc && started < wanted) {
		rc = fp_worker_start(shared, started, &shared->workers[started]);
		started += rc == 0;
	}
	if (rc) {
		shared->count = started;
		fp_engine_stop(engine, 0);
		fp_engine_free(engine);
		return rc;
	}
	*ret_engine = engine;
	return 0;
}

static void close_listeners(struct fp_engine *engine)
{
	for (struct fp_sandbox *sandbox = engine->sandboxes; sandbox; sandbox = sandbox->next)
		fp_tell_all(engine, (struct fp_message){ .kind = FP_MSG_UNWATCH, .sandbox = sandbox });
	for (struct fp_sandbox *sandbox = engine->sandboxes; sandbox; sandbox = sandbox->next)
		fp_sandbox_hush(sandbox);
}

/* No worker may be left. */
static void free_sandboxes(struct fp_engine *engine)
{
	while (engine->sandboxes) {
		struct fp_sandbox *sandbox = engine->sandboxes;
		engine->sandboxes = sandbox->next;
		fp_sandbox_free(sandbox);
	}
}

int fp_engine_drain(struct fp_engine *engine, uint32_t ms)
{
	uint64_t deadline = ms >= FP_FOREVER ? UINT64_MAX : fp_clock_ns() + (uint64_t)ms * 1000000u;
	pthread_mutex_lock(&engine->turn);
	if (!engine->draining)
		close_listeners(engine);
	engine->draining = true;
	/* No worker accepts any more, so all handed-over connections are in the inboxes before this message. */
	int rc = fp_tell_all(engine, (struct fp_message){ .kind = FP_MSG_RETIRE, .deadline_ns = deadline });
	pthread_mutex_unlock(&engine->turn);
	return rc;
}

bool fp_engine_is_over(struct fp_engine *engine)
{
	pthread_mutex_lock(&engine->turn);
	uint32_t left = 0;
	for (uint32_t i = 0; i < engine->shared.count; i++)
		left += !has_ended(engine, i);
	if (!left)
		atomic_store(&engine->joined, true);
	pthread_mutex_unlock(&engine->turn);
	return !left;
}

void fp_engine_stop(struct fp_engine *engine, uint32_t ms)
{
	(void)fp_engine_drain(engine, ms); /* retiring cannot fail */
	while (!fp_engine_is_over(engine))
		nanosleep(&(struct timespec){ .tv_nsec = FP_LOOK_NS / 10 }, NULL);
	free_sandboxes(engine);
	fp_bell_ring(&engine->shared.bell);
}

int fp_engine_flows(struct fp_engine *engine, int flows_fd, int wishes_fd, int called_fd)
{
	const struct fp_config *config = &engine->shared.config;
	/* Under the numbers that the workers use: one system call each, no moment without a map. */
	if (wishes_fd >= 0 && config->wishes_fd > 0 && dup3(wishes_fd, config->wishes_fd, O_CLOEXEC) < 0)
		return -errno;
	if (called_fd >= 0 && config->called_fd > 0 && dup3(called_fd, config->called_fd, O_CLOEXEC) < 0)
		return -errno;
	return dup3(flows_fd, config->flows_fd, O_CLOEXEC) < 0 ? -errno : 0;
}

static void free_retired(struct fp_engine *engine)
{
	struct fp_image **link = &engine->retired;
	while (*link) {
		struct fp_image *image = *link;
		bool held = false;
		for (uint32_t i = 0; i < engine->shared.count; i++)
			held |= atomic_load(&engine->shared.workers[i]->hold.image) == image;
		if (held) {
			link = &image->next_retired;
			continue;
		}
		*link = image->next_retired;
		fp_image_unbind(image);
		fp_image_free(image);
	}
	fp_registry_sweep(&engine->targets);
}

void fp_engine_free(struct fp_engine *engine)
{
	struct fp_shared *shared = &engine->shared;
	struct fp_image *image = atomic_load(&shared->image);
	if (image) {
		image->next_retired = engine->retired;
		engine->retired = image;
	}
	free_retired(engine);
	for (uint32_t i = 0; i < shared->count && shared->workers; i++) {
		if (shared->workers[i])
			fp_worker_free(shared->workers[i]);
	}
	fp_registry_clear(&engine->targets);
	fp_policies_free(engine->policies);
	if (shared->bell.fd >= 0)
		fp_bell_close(&shared->bell);
	free(shared->workers);
	free(engine->ended);
	pthread_mutex_destroy(&engine->turn);
	free(engine);
}

/* Round robin goes on where the previous image stood, or frequent publishing would favour first endpoints. */
static void carry_cursors(const struct fp_image *from, struct fp_image *to)
{
	for (uint32_t i = 0, j = 0; from && i < to->service_count; i++) {
		/* Compilers keep the order of services, so the search nearly always ends at its first step. */
		for (uint32_t k = 0; k < from->service_count; k++) {
			uint32_t at = (j + k) % from->service_count;
			if (from->services[at].number != to->services[i].number)
				continue;
			uint64_t cursor = atomic_load_explicit(&from->services[at].cursor, memory_order_relaxed);
			atomic_store_explicit(&to->services[i].cursor, cursor, memory_order_relaxed);
			j = at + 1;
			break;
		}
	}
}

static int publish(struct fp_engine *engine, struct fp_image *image)
{
	int rc = engine->draining ? -ESHUTDOWN : fp_image_seal(image);
	if (!rc)
		rc = fp_image_bind(image, &engine->targets);
	if (rc) {
		fp_image_free(image);
		return rc;
	}
	carry_cursors(atomic_load(&engine->shared.image), image);
	struct fp_image *old = atomic_exchange(&engine->shared.image, image);
	if (old) {
		old->next_retired = engine->retired;
		engine->retired = old;
	}
	atomic_store(&engine->generation, image->generation);
	free_retired(engine);
	return 0;
}

int fp_publish(struct fp_engine *engine, struct fp_image *image)
{
	pthread_mutex_lock(&engine->turn);
	int rc = publish(engine, image);
	pthread_mutex_unlock(&engine->turn);
	return rc;
}

int fp_policies_publish(struct fp_engine *engine, struct fp_policies *policies)
{
	pthread_mutex_lock(&engine->turn);
	/* Also while it drains: what lives is judged as long as it does. */
	int rc = fp_tell_all(engine, (struct fp_message){ .kind = FP_MSG_POLICIES, .policies = policies });
	fp_policies_free(engine->policies);
	engine->policies = policies;
	pthread_mutex_unlock(&engine->turn);
	return rc;
}

uint64_t fp_generation(const struct fp_engine *engine)
{
	return atomic_load(&engine->generation);
}

void fp_stats_read(const struct fp_engine *engine, struct fp_stats *ret_stats)
{
	struct fp_stats sum = { .active = fp_active_of_all(&engine->shared),
				.socket_bytes = atomic_load(&engine->shared.kmem.bytes) };
	for (uint32_t i = 0; i < engine->shared.count; i++) {
		const struct fp_worker *w = engine->shared.workers[i];
		sum.accepted += fp_counted(&w->stats.accepted);
		sum.bytes_to_server += fp_counted(&w->stats.bytes[FP_CLIENT]);
		sum.bytes_to_client += fp_counted(&w->stats.bytes[FP_SERVER]);
		sum.events_lost += fp_counted(&w->ring.lost);
		for (int reason = 0; reason < FP_REASON_COUNT; reason++)
			sum.closed[reason] += fp_counted(&w->stats.closed[reason]);
	}
	*ret_stats = sum;
}

int fp_event_fd(const struct fp_engine *engine)
{
	return engine->shared.bell.fd;
}

int fp_events_drain(struct fp_engine *engine, struct fp_event *ret_events, uint32_t max)
{
	uint32_t n = 0;
	bool joined = atomic_load(&engine->joined); /* before draining: then nothing comes after */
	fp_bell_silence(&engine->shared.bell);
	for (uint32_t i = 0; i < engine->shared.count && n < max; i++)
		n += fp_ring_drain(&engine->shared.workers[i]->ring, ret_events + n, max - n);
	return joined && !n ? -ESHUTDOWN : (int)n;
}
