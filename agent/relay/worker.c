#include "worker.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "moving.h"
#include "placing.h"
#include "privilege.h"
#include "sandbox.h"

enum {
	FP_LETTERS = 16, /* messages of one turn: each may be a connection to be served */
	FP_EVICTED = 32  /* connections of a pod that goes, in one turn */
};

static struct fp_watch *watches_of(const struct fp_worker *w, struct fp_sandbox *sandbox)
{
	return sandbox->presence[w->index].watches;
}

static void retire(struct fp_worker *w, uint64_t deadline_ns)
{
	w->retiring = true;
	fp_timer_start(&w->timers, &w->deadline, deadline_ns);
}

/* Some connections of a pod that goes: others need not wait for all of them. */
static void evict_some(struct fp_task *task)
{
	struct fp_presence *presence = fp_container(task, struct fp_presence, evict);
	struct fp_worker *w = presence->worker;
	if (fp_conns_evict(presence, FP_EVICTED)) {
		fp_loop_queue(&w->loop, &presence->party.lane, task);
		return;
	}
	fp_lane_leave(&presence->party.lane);
	/* Its descriptor is about to be closed, and the number may soon be another pod's. */
	fp_netns_leave(&w->visit);
	fp_peers_leave(&w->peers);
	sem_post(presence->evicted);
}

static void start_evicting(struct fp_worker *w, struct fp_presence *presence, sem_t *done)
{
	presence->worker = w;
	presence->evicted = done;
	fp_task_init(&presence->evict, evict_some);
	evict_some(&presence->evict);
}

static void obey(struct fp_worker *w, const struct fp_message *message)
{
	struct fp_watch *watches = message->sandbox ? watches_of(w, message->sandbox) : NULL;
	switch (message->kind) {
	case FP_MSG_WATCH:
		message->sandbox->presence[w->index].open = true;
		for (int i = 0; i < FP_LISTENERS && !fp_is_carrier(w) && !*message->ret_result; i++)
			*message->ret_result = fp_watch_start(&watches[i], &w->acceptor);
		break;
	case FP_MSG_UNWATCH:
		message->sandbox->presence[w->index].open = false;
		for (int i = 0; i < FP_LISTENERS; i++)
			fp_watch_stop(&watches[i]);
		break;
	case FP_MSG_LOOK:
		for (int i = 0; i < FP_LISTENERS; i++)
			fp_watch_look(&watches[i]);
		break;
	case FP_MSG_EVICT:
		start_evicting(w, &message->sandbox->presence[w->index], message->done);
		return;
	case FP_MSG_ADOPT:
		fp_serve(w, message->sandbox, message->fd, &message->peer, message->peer_port_be);
		break;
	case FP_MSG_JOIN:
		fp_conn_join(message->conn, &w->conns);
		break;
	case FP_MSG_POLICIES:
		fp_conns_judge_by(&w->conns, message->policies);
		break;
	case FP_MSG_RETIRE:
		retire(w, message->deadline_ns);
		break;
	}
	if (message->done)
		sem_post(message->done);
}

static void read_some(struct fp_task *task)
{
	struct fp_worker *w = fp_container(task, struct fp_worker, unread);
	struct fp_message message;
	for (int i = 0; i < FP_LETTERS; i++) {
		if (!fp_inbox_take(&w->inbox, &message))
			return;
		obey(w, &message);
	}
	fp_loop_defer(&w->loop, task);
}

static void read_inbox(struct fp_source *source, uint32_t events)
{
	struct fp_worker *w = fp_container(source, struct fp_worker, messages);
	(void)events;
	fp_inbox_wakened(&w->inbox);
	fp_loop_defer(&w->loop, &w->unread);
}

static void deadline_over(struct fp_timer *timer, uint64_t now_ns)
{
	(void)now_ns;
	fp_conns_end(&fp_container(timer, struct fp_worker, deadline)->conns);
}

static void *work(void *arg)
{
	struct fp_worker *w = arg;
	fp_keep_setns_only();
	do {
		fp_loop_turn(&w->loop);
		fp_hold_release(&w->hold);
	} while (!w->retiring || !fp_list_empty(&w->conns.live));
	fp_report_sums(&w->reporter);
	fp_conns_bury(&w->conns);
	return NULL;
}

static int open_resources(struct fp_worker *w)
{
	const struct fp_config *config = &w->shared->config;
	uint64_t buffers = ((uint64_t)config->pool_mib << 20) / w->shared->count / config->buffer_bytes;
	int rc = fp_pipes_init(&w->pipes, &w->loop, config->buffer_bytes, buffers ? (uint32_t)buffers : 1,
			       w->stats.bytes);
	if (!rc)
		rc = fp_ring_init(&w->ring);
	if (!rc)
		rc = fp_acceptor_open(&w->acceptor, &w->loop);
	if (!rc)
		rc = fp_netns_visit_init(&w->visit);
	if (!rc)
		rc = fp_inbox_init(&w->inbox);
	fp_place_from(w);
	w->messages = (struct fp_source){ .fd = w->inbox.wake_fd, .ready = read_inbox };
	if (!rc)
		rc = fp_loop_watch(&w->loop, &w->messages, EPOLLIN | EPOLLET);
	if (!rc && getrandom(&w->upstreams.random.state, sizeof(w->upstreams.random.state), 0) < 0)
		rc = -errno;
	return rc;
}

/* Each part gets the parts that it stands on. */
static void compose(struct fp_worker *w)
{
	const struct fp_config *config = &w->shared->config;
	w->hold.current = &w->shared->image;
	fp_plains_init(&w->plains, &w->loop);
	fp_plain_dialer_init(&w->dialer, &w->visit, &w->plains);
	fp_upstreams_init(&w->upstreams, &w->loop, &w->dialer.dialer, &w->hold,
			  config->connect_timeout_ms * (uint64_t)1000000);
	fp_reporter_init(&w->reporter, &w->loop, &w->ring, &w->shared->bell);
	w->reporter.each = config->each_event;
	w->reporter.period_ns = config->report_ms * (uint64_t)1000000;
	fp_conns_init(&w->conns, &w->loop);
	fp_judging_init(&w->conns);
	fp_peers_init(&w->peers, &w->visit);
	w->conns.peers = &w->peers;
	w->conns.kmem = &w->shared->kmem;
	w->conns.records = (struct fp_records){ .flows_fd = config->flows_fd,
						.wishes_fd = config->wishes_fd,
						.called_fd = config->called_fd };
	w->conns.pipes = &w->pipes;
	w->conns.upstreams = &w->upstreams;
	w->conns.reporter = &w->reporter;
	w->conns.stats = &w->stats;
	w->conns.worker = w->index;
	fp_loop_add_timers(&w->loop, &w->timers);
	fp_timer_init(&w->deadline, deadline_over);
	fp_task_init(&w->unread, read_some);
}

int fp_worker_start(struct fp_shared *shared, uint32_t index, struct fp_worker **ret_worker)
{
	struct fp_worker *w = aligned_alloc(_Alignof(struct fp_worker), sizeof(*w));
	if (!w)
		return -ENOMEM;
	memset(w, 0, sizeof(*w));
	w->shared = shared;
	w->index = index;
	w->acceptor.spare_fd = w->visit.home_fd = w->inbox.wake_fd = -1;
	w->visit.here_fd = FP_AT_HOME;
	int rc = fp_loop_open(&w->loop);
	compose(w);
	if (!rc)
		rc = open_resources(w);
	if (!rc) {
		/* Signals are for the thread that handles them. */
		sigset_t all, before;
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &before);
		rc = -pthread_create(&w->thread, NULL, work, w);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	if (rc) {
		fp_worker_free(w);
		return rc;
	}
	pthread_setname_np(w->thread, fp_is_carrier(w) ? "tg-carrier" : "tg-fastpath");
	*ret_worker = w;
	return 0;
}

void fp_worker_join(struct fp_worker *w)
{
	pthread_join(w->thread, NULL);
}

void fp_worker_free(struct fp_worker *w)
{
	fp_loop_close(&w->loop);
	fp_acceptor_close(&w->acceptor);
	fp_peers_leave(&w->peers);
	if (w->visit.home_fd >= 0)
		close(w->visit.home_fd);
	fp_inbox_free(&w->inbox);
	fp_ring_free(&w->ring);
	fp_conns_clear(&w->conns);
	fp_pipes_clear(&w->pipes);
	fp_plains_clear(&w->plains);
	free(w);
}
