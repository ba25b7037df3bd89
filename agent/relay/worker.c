#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "privilege.h"

enum { FP_BATCH = 128 };

uint64_t fp_clock_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int fp_worker_watch(struct fp_worker *w, int fd, void *object, enum fp_tag tag, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.u64 = (uint64_t)(uintptr_t)object | tag };
	return epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

struct fp_image *fp_worker_image(struct fp_worker *w)
{
	struct fp_image *image = atomic_load_explicit(&w->held_image, memory_order_relaxed);
	if (image)
		return image;
	/* Announce, then check that it is still current: the control thread swaps first and looks at the announcements
	 * afterwards, so one of the two sees the other. Both are sequentially consistent. */
	do {
		image = atomic_load(&w->shared->image);
		atomic_store(&w->held_image, image);
	} while (image != atomic_load(&w->shared->image));
	return image;
}

static void watch_sandbox(struct fp_worker *w, const struct fp_message *message)
{
	struct fp_watch *watches = &message->sandbox->watches[w->index * FP_LISTENERS];
	for (int i = 0; i < FP_LISTENERS && !*message->ret_result; i++) {
		/* Exclusive: a new connection wakes one worker instead of all. */
		if (watches[i].fd >= 0)
			*message->ret_result = fp_worker_watch(w, watches[i].fd, &watches[i], FP_TAG_WATCH,
							       EPOLLIN | EPOLLET | EPOLLEXCLUSIVE);
	}
}

static void unwatch_sandbox(struct fp_worker *w, struct fp_sandbox *sandbox)
{
	struct fp_watch *watches = &sandbox->watches[w->index * FP_LISTENERS];
	for (int i = 0; i < FP_LISTENERS; i++) {
		fp_list_remove(&watches[i].more);
		if (watches[i].fd >= 0)
			epoll_ctl(w->epoll_fd, EPOLL_CTL_DEL, watches[i].fd, NULL);
	}
}

/* Reset the connections of one sandbox, or all of them. */
static void evict(struct fp_worker *w, const struct fp_sandbox *sandbox)
{
	struct fp_node *next;
	for (struct fp_node *node = w->conns.next; node != &w->conns; node = next) {
		struct fp_conn *conn = fp_container(node, struct fp_conn, all);
		next = node->next;
		if (!sandbox || conn->sandbox == sandbox)
			fp_conn_close(w, conn, FP_CLOSE_SHUTDOWN);
	}
}

/* Between batches, when no epoll event that names a sandbox is left unprocessed. */
static void read_inbox(struct fp_worker *w)
{
	struct fp_message message;
	w->inbox_ready = false;
	fp_inbox_wakened(&w->inbox);
	while (fp_inbox_take(&w->inbox, &message)) {
		switch (message.kind) {
		case FP_MSG_WATCH:
			watch_sandbox(w, &message);
			break;
		case FP_MSG_UNWATCH:
			unwatch_sandbox(w, message.sandbox);
			break;
		case FP_MSG_EVICT:
			evict(w, message.sandbox);
			/* Its descriptor is about to be closed, and the number may soon be another pod's. */
			fp_netns_leave(&w->visit);
			break;
		case FP_MSG_ADOPT:
			fp_conn_open(w, message.sandbox, message.fd, &message.peer, message.peer_port_be);
			break;
		case FP_MSG_RETIRE:
			w->retiring = true;
			w->retire_at_ns = message.deadline_ns;
			break;
		}
		if (message.done)
			sem_post(message.done);
	}
}

static void dispatch(struct fp_worker *w, const struct epoll_event *event)
{
	void *object = (void *)(uintptr_t)(event->data.u64 & ~(uint64_t)FP_TAG_MASK);
	switch ((enum fp_tag)(event->data.u64 & FP_TAG_MASK)) {
	case FP_TAG_CLIENT:
	case FP_TAG_SERVER:
		fp_conn_ready(w, object, (enum fp_side_index)(event->data.u64 & FP_TAG_MASK), event->events);
		break;
	case FP_TAG_WATCH:
		fp_accept(w, object);
		break;
	case FP_TAG_INBOX:
		w->inbox_ready = true;
		break;
	}
}

/* Work that epoll will not mention again: budgets used up, listeners not emptied. One round; the rest comes next time. */
static void continue_unfinished(struct fp_worker *w)
{
	struct fp_node round;
	fp_list_init(&round);
	fp_list_take(&round, &w->again);
	while (!fp_list_empty(&round)) {
		struct fp_conn *conn = fp_container(round.next, struct fp_conn, again);
		fp_list_remove(&conn->again);
		fp_conn_resume(w, conn);
	}
	if (fp_list_empty(&w->backlogs) || (w->accept_after_ns && fp_clock_ns() < w->accept_after_ns))
		return;
	w->accept_after_ns = 0;
	fp_list_take(&round, &w->backlogs);
	while (!fp_list_empty(&round) && !w->accept_after_ns)
		fp_accept(w, fp_container(round.next, struct fp_watch, more));
	while (!fp_list_empty(&round)) {
		struct fp_node *node = round.next;
		fp_list_remove(node);
		fp_list_append(&w->backlogs, node);
	}
}

/* The same timeout for all attempts keeps the list in the order of deadlines. */
static void expire_attempts(struct fp_worker *w)
{
	if (fp_list_empty(&w->dialling))
		return;
	uint64_t now = fp_clock_ns();
	while (!fp_list_empty(&w->dialling)) {
		struct fp_conn *conn = fp_container(w->dialling.next, struct fp_conn, due);
		if (conn->deadline_ns > now)
			break;
		fp_conn_timed_out(w, conn);
	}
}

static void report_living(struct fp_worker *w)
{
	if (fp_list_empty(&w->living))
		return;
	uint64_t now = fp_clock_ns();
	while (!fp_list_empty(&w->living)) {
		struct fp_conn *conn = fp_container(w->living.next, struct fp_conn, due);
		if (conn->deadline_ns > now)
			break;
		fp_conn_report(w, conn, now);
	}
}

static void tell_tally(struct fp_worker *w)
{
	if (w->tally.count && (w->retiring || fp_clock_ns() >= w->tally.due_ns))
		fp_tally_tell(&w->tally, &w->ring, &w->shared->bell);
}

static void bury_dead(struct fp_worker *w)
{
	while (!fp_list_empty(&w->dead)) {
		struct fp_conn *conn = fp_container(w->dead.next, struct fp_conn, all);
		fp_list_remove(&conn->all);
		fp_slab_give(&w->slab, conn);
	}
}

static void sooner(uint64_t *when, uint64_t other)
{
	if (other < *when)
		*when = other;
}

/* Milliseconds until something is due without an event; -1 = nothing. */
static int patience(const struct fp_worker *w)
{
	uint64_t due = UINT64_MAX;
	if (!fp_list_empty(&w->again))
		return 0;
	if (!fp_list_empty(&w->backlogs)) {
		if (!w->accept_after_ns)
			return 0;
		sooner(&due, w->accept_after_ns);
	}
	if (!fp_list_empty(&w->dialling))
		sooner(&due, fp_container(w->dialling.next, struct fp_conn, due)->deadline_ns);
	if (!fp_list_empty(&w->living))
		sooner(&due, fp_container(w->living.next, struct fp_conn, due)->deadline_ns);
	if (w->tally.count)
		sooner(&due, w->tally.due_ns);
	if (w->retiring)
		sooner(&due, w->retire_at_ns);
	if (due == UINT64_MAX)
		return -1;
	uint64_t now = fp_clock_ns();
	if (due <= now)
		return 0;
	uint64_t ms = (due - now + 999999) / 1000000; /* up: waking too early would spin */
	return ms > INT32_MAX ? INT32_MAX : (int)ms;
}

static bool retired(struct fp_worker *w)
{
	if (!w->retiring)
		return false;
	if (!fp_list_empty(&w->conns) && fp_clock_ns() >= w->retire_at_ns)
		evict(w, NULL);
	return fp_list_empty(&w->conns);
}

static void *loop(void *arg)
{
	struct fp_worker *w = arg;
	struct epoll_event events[FP_BATCH];
	fp_keep_setns_only();
	do {
		int n = epoll_wait(w->epoll_fd, events, FP_BATCH, patience(w));
		for (int i = 0; i < n; i++)
			dispatch(w, &events[i]);
		continue_unfinished(w);
		expire_attempts(w);
		report_living(w);
		if (w->inbox_ready)
			read_inbox(w);
		tell_tally(w);
		if (atomic_load_explicit(&w->held_image, memory_order_relaxed))
			atomic_store_explicit(&w->held_image, NULL, memory_order_release);
		bury_dead(w);
	} while (!retired(w));
	tell_tally(w);
	bury_dead(w);
	return NULL;
}

static int open_resources(struct fp_worker *w)
{
	const struct fp_config *config = &w->shared->config;
	uint64_t pool_bytes = (uint64_t)config->pool_mib << 20;
	uint64_t buffers = pool_bytes / config->workers / config->buffer_bytes;
	fp_pool_init(&w->pool, config->buffer_bytes, buffers ? (uint32_t)buffers : 1);
	w->scratch = malloc(sizeof(*w->scratch) + config->buffer_bytes);
	if (!w->scratch || fp_ring_init(&w->ring))
		return -ENOMEM;
	w->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (w->spare_fd < 0 || w->epoll_fd < 0)
		return -errno;
	int rc = fp_netns_visit_init(&w->visit);
	if (!rc)
		rc = fp_inbox_init(&w->inbox);
	if (!rc)
		rc = fp_worker_watch(w, w->inbox.wake_fd, NULL, FP_TAG_INBOX, EPOLLIN | EPOLLET);
	if (!rc && getrandom(&w->random.state, sizeof(w->random.state), 0) < 0)
		rc = -errno;
	return rc;
}

int fp_worker_start(struct fp_shared *shared, uint32_t index, struct fp_worker **ret_worker)
{
	struct fp_worker *w = aligned_alloc(_Alignof(struct fp_worker), sizeof(*w));
	if (!w)
		return -ENOMEM;
	memset(w, 0, sizeof(*w));
	w->shared = shared;
	w->index = index;
	w->epoll_fd = w->spare_fd = w->visit.home_fd = w->inbox.wake_fd = -1;
	w->visit.here_fd = FP_AT_HOME;
	fp_list_init(&w->conns);
	fp_list_init(&w->dead);
	fp_list_init(&w->again);
	fp_list_init(&w->dialling);
	fp_list_init(&w->living);
	fp_list_init(&w->backlogs);
	int rc = open_resources(w);
	if (!rc) {
		/* Signals are for the thread that Python handles them on. */
		sigset_t all, before;
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &before);
		rc = -pthread_create(&w->thread, NULL, loop, w);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	if (rc) {
		fp_worker_free(w);
		return rc;
	}
	pthread_setname_np(w->thread, "tg-fastpath");
	*ret_worker = w;
	return 0;
}

void fp_worker_join(struct fp_worker *w)
{
	pthread_join(w->thread, NULL);
}

static void close_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

void fp_worker_free(struct fp_worker *w)
{
	close_open(w->epoll_fd);
	close_open(w->spare_fd);
	close_open(w->visit.home_fd);
	fp_inbox_free(&w->inbox);
	fp_ring_free(&w->ring);
	fp_pool_clear(&w->pool);
	fp_slab_clear(&w->slab);
	free(w->scratch);
	free(w);
}
