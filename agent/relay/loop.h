/* One thread's event loop: descriptors, timers, work put off. It knows nothing of what it calls.
 *
 * Everything here is embedded in what it serves; nothing is allocated. A callback may forget, free or close anything, its
 * own source included: an event that still waits in the batch for a forgotten source is dropped. */
#ifndef FP_LOOP_H
#define FP_LOOP_H
#include <sys/epoll.h>

#include "base.h"
#include "list.h"

enum { FP_BATCH = 128 };

/* A descriptor that is watched. */
struct fp_source {
	int fd;
	void (*ready)(struct fp_source *source, uint32_t events); /* events: EPOLL... */
};

/* Work for the next round of the loop, which then does not sleep. */
struct fp_task {
	struct fp_node node;
	void (*run)(struct fp_task *task);
};

/* Work of one party that can wait for others: after each round of events one task of one lane is run, and lanes take
 * turns. So an event waits for one such task at most, and who has many has no more of the thread than who has one. */
struct fp_lane {
	struct fp_node node; /* in fp_loop.lanes */
	struct fp_node tasks;
};

/* Something to do at a time (CLOCK_MONOTONIC). It is stopped when it is called. */
struct fp_timer {
	struct fp_node node;
	uint64_t due_ns;
	void (*due)(struct fp_timer *timer, uint64_t now_ns);
};

/* Timers of one kind, the first due in front. A kind that always waits equally long is started and stopped at the cost of
 * two pointers, however many there are; another one is put in its place from the end. */
struct fp_timers {
	struct fp_node queue;
	struct fp_node kinds; /* in fp_loop.kinds */
};

struct fp_loop {
	int epoll_fd;
	struct fp_node tasks;
	struct fp_node lanes; /* that have tasks, or had */
	struct fp_node kinds; /* of struct fp_timers */
	uint32_t turns;       /* so far */
	int at, count;        /* in batch: the event being told, how many there are */
	struct epoll_event batch[FP_BATCH];
};

fp_must_check int fp_loop_open(struct fp_loop *loop);
void fp_loop_close(struct fp_loop *loop);
/* Wait for events, or for the first timer; then events, tasks, a task of a lane, timers, in this order. A task or timer that a callback
 * adds may have to wait for the next turn. */
void fp_loop_turn(struct fp_loop *loop);

fp_must_check int fp_loop_watch(struct fp_loop *loop, struct fp_source *source, uint32_t events);
/* The source is not called again. The caller closes its descriptor, which ends the kernel's interest ... */
void fp_loop_forget(struct fp_loop *loop, const struct fp_source *source);
/* ... or, if others have that open file as well, leaves it open. */
void fp_loop_unwatch(struct fp_loop *loop, const struct fp_source *source);

static inline void fp_task_init(struct fp_task *task, void (*run)(struct fp_task *))
{
	fp_list_init(&task->node);
	task->run = run;
}

/* Once, however often it is asked for. */
void fp_loop_defer(struct fp_loop *loop, struct fp_task *task);

static inline void fp_lane_init(struct fp_lane *lane)
{
	fp_list_init(&lane->node);
	fp_list_init(&lane->tasks);
}

/* Once, however often it is asked for, and not if it is deferred already. */
void fp_loop_queue(struct fp_loop *loop, struct fp_lane *lane, struct fp_task *task);

/* The lane's memory may be freed; it has no tasks. */
static inline void fp_lane_leave(struct fp_lane *lane)
{
	fp_list_remove(&lane->node);
}

static inline void fp_task_cancel(struct fp_task *task)
{
	fp_list_remove(&task->node);
}

void fp_loop_add_timers(struct fp_loop *loop, struct fp_timers *timers);

static inline void fp_timer_init(struct fp_timer *timer, void (*due)(struct fp_timer *, uint64_t))
{
	fp_list_init(&timer->node);
	timer->due = due;
}

/* A timer that runs is started anew. */
void fp_timer_start(struct fp_timers *timers, struct fp_timer *timer, uint64_t due_ns);

static inline void fp_timer_stop(struct fp_timer *timer)
{
	fp_list_remove(&timer->node);
}

uint64_t fp_clock_ns(void); /* CLOCK_MONOTONIC */
#endif
