#include "loop.h"

#include <errno.h>
#include <time.h>
#include <unistd.h>

uint64_t fp_clock_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int fp_loop_open(struct fp_loop *loop)
{
	fp_list_init(&loop->tasks);
	fp_list_init(&loop->lanes);
	fp_list_init(&loop->kinds);
	loop->turns = 0;
	loop->at = loop->count = 0;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	return loop->epoll_fd < 0 ? -errno : 0;
}

void fp_loop_close(struct fp_loop *loop)
{
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	loop->epoll_fd = -1;
}

int fp_loop_watch(struct fp_loop *loop, struct fp_source *source, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = source };
	return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, source->fd, &event) ? -errno : 0;
}

void fp_loop_forget(struct fp_loop *loop, const struct fp_source *source)
{
	for (int i = loop->at + 1; i < loop->count; i++) {
		if (loop->batch[i].data.ptr == source)
			loop->batch[i].data.ptr = NULL;
	}
}

void fp_loop_unwatch(struct fp_loop *loop, const struct fp_source *source)
{
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	fp_loop_forget(loop, source);
}

void fp_loop_defer(struct fp_loop *loop, struct fp_task *task)
{
	if (fp_list_empty(&task->node))
		fp_list_append(&loop->tasks, &task->node);
}

void fp_loop_queue(struct fp_loop *loop, struct fp_lane *lane, struct fp_task *task)
{
	if (!fp_list_empty(&task->node))
		return;
	fp_list_append(&lane->tasks, &task->node);
	if (fp_list_empty(&lane->node))
		fp_list_append(&loop->lanes, &lane->node);
}

void fp_loop_add_timers(struct fp_loop *loop, struct fp_timers *timers)
{
	fp_list_init(&timers->queue);
	fp_list_append(&loop->kinds, &timers->kinds);
}

void fp_timer_start(struct fp_timers *timers, struct fp_timer *timer, uint64_t due_ns)
{
	fp_list_remove(&timer->node);
	struct fp_node *before = timers->queue.prev; /* after that: it may have been the last one itself */
	timer->due_ns = due_ns;
	while (before != &timers->queue && fp_container(before, struct fp_timer, node)->due_ns > due_ns)
		before = before->prev;
	fp_list_insert(before, &timer->node);
}

static struct fp_timer *first_of(const struct fp_node *kind)
{
	const struct fp_timers *timers = fp_container(kind, struct fp_timers, kinds);
	return fp_list_empty(&timers->queue) ? NULL : fp_container(timers->queue.next, struct fp_timer, node);
}

/* Milliseconds until something is due without an event; -1 = nothing. */
static int patience(const struct fp_loop *loop)
{
	uint64_t due_ns = UINT64_MAX;
	if (!fp_list_empty(&loop->tasks) || !fp_list_empty(&loop->lanes))
		return 0;
	for (struct fp_node *kind = loop->kinds.next; kind != &loop->kinds; kind = kind->next) {
		const struct fp_timer *first = first_of(kind);
		if (first && first->due_ns < due_ns)
			due_ns = first->due_ns;
	}
	if (due_ns == UINT64_MAX)
		return -1;
	uint64_t now_ns = fp_clock_ns();
	if (due_ns <= now_ns)
		return 0;
	uint64_t ms = (due_ns - now_ns + 999999) / 1000000; /* up: waking too early would spin */
	return ms > INT32_MAX ? INT32_MAX : (int)ms;
}

/* One round: what tasks put off again comes next time. */
static void run_tasks(struct fp_loop *loop)
{
	struct fp_node round;
	fp_list_init(&round);
	fp_list_take(&round, &loop->tasks);
	while (!fp_list_empty(&round)) {
		struct fp_task *task = fp_container(round.next, struct fp_task, node);
		fp_task_cancel(task);
		task->run(task);
	}
}

/* The first task of the first lane that has one; the lane then stands last. */
static void run_lane(struct fp_loop *loop)
{
	while (!fp_list_empty(&loop->lanes)) {
		struct fp_lane *lane = fp_container(loop->lanes.next, struct fp_lane, node);
		fp_list_remove(&lane->node);
		if (fp_list_empty(&lane->tasks)) /* cancelled */
			continue;
		struct fp_task *task = fp_container(lane->tasks.next, struct fp_task, node);
		fp_task_cancel(task);
		if (!fp_list_empty(&lane->tasks))
			fp_list_append(&loop->lanes, &lane->node);
		task->run(task);
		return;
	}
}

/* Of each kind so many in one turn; others that are due come in the next, which does not sleep. */
enum { FP_DUE = 128 };

static void run_timers(struct fp_loop *loop)
{
	uint64_t now_ns = 0;
	for (struct fp_node *kind = loop->kinds.next; kind != &loop->kinds; kind = kind->next) {
		struct fp_timer *timer = first_of(kind);
		if (timer && !now_ns)
			now_ns = fp_clock_ns();
		for (int i = 0; i < FP_DUE && timer && timer->due_ns <= now_ns; i++, timer = first_of(kind)) {
			fp_timer_stop(timer);
			timer->due(timer, now_ns);
		}
	}
}

void fp_loop_turn(struct fp_loop *loop)
{
	loop->turns++;
	loop->count = epoll_wait(loop->epoll_fd, loop->batch, FP_BATCH, patience(loop));
	for (loop->at = 0; loop->at < loop->count; loop->at++) {
		struct fp_source *source = loop->batch[loop->at].data.ptr;
		if (source)
			source->ready(source, loop->batch[loop->at].events);
	}
	loop->at = loop->count = 0;
	run_tasks(loop);
	run_lane(loop);
	run_timers(loop);
}
