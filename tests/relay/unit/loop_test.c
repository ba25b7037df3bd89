/* The loop: nothing forgotten is called, however late in a batch; timers in order; tasks once and in rounds. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../../agent/relay/loop.h"
#include "check.h"

static struct fp_loop loop;
static int calls;

struct bystander {
	struct fp_source source;
	struct bystander *other;
};

static struct bystander *make_ready(void (*ready)(struct fp_source *, uint32_t))
{
	struct bystander *one = calloc(1, sizeof(*one));
	CHECK(one);
	one->source = (struct fp_source){ .fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC), .ready = ready };
	CHECK(one->source.fd >= 0 && fp_loop_watch(&loop, &one->source, EPOLLIN | EPOLLET) == 0);
	return one;
}

static void dispose(struct bystander *one)
{
	fp_loop_forget(&loop, &one->source);
	close(one->source.fd);
	free(one);
}

/* The address sanitizer sees it if the other one is called all the same. */
static void dispose_both(struct fp_source *source, uint32_t events)
{
	struct bystander *one = fp_container(source, struct bystander, source);
	CHECK(events & EPOLLIN);
	calls++;
	dispose(one->other);
	dispose(one);
}

static void the_forgotten_are_not_called(void)
{
	struct bystander *pairs[FP_BATCH / 4][2];
	for (size_t i = 0; i < FP_BATCH / 4; i++) {
		pairs[i][0] = make_ready(dispose_both);
		pairs[i][1] = make_ready(dispose_both);
		pairs[i][0]->other = pairs[i][1];
		pairs[i][1]->other = pairs[i][0];
	}
	calls = 0;
	fp_loop_turn(&loop);
	CHECK(calls == FP_BATCH / 4);
}

static struct bystander *shared_fd;

static void unwatch_the_shared(struct fp_source *source, uint32_t events)
{
	(void)events;
	calls++;
	if (shared_fd)
		fp_loop_unwatch(&loop, &shared_fd->source);
	shared_fd = NULL;
	dispose(fp_container(source, struct bystander, source));
}

static void never(struct fp_source *source, uint32_t events)
{
	(void)source;
	(void)events;
	CHECK(!"called although nobody watches it");
}

static void the_unwatched_stay_open_and_silent(void)
{
	struct bystander *first = make_ready(unwatch_the_shared), *kept = shared_fd = make_ready(never);
	(void)first;
	calls = 0;
	fp_loop_turn(&loop);
	CHECK(calls == 1);
	CHECK(eventfd_write(kept->source.fd, 1) == 0);
	struct bystander *last = make_ready(unwatch_the_shared); /* so that the turn ends */
	(void)last;
	fp_loop_turn(&loop);
	CHECK(calls == 2);
	dispose(kept);
}

static struct fp_timers kinds[2];
static struct fp_timer timers[6];
static int order[16], fired;

static void fire(struct fp_timer *timer, uint64_t now_ns)
{
	CHECK(timer->due_ns <= now_ns && fp_list_empty(&timer->node));
	order[fired++] = (int)(timer - timers);
}

static void fire_and_meddle(struct fp_timer *timer, uint64_t now_ns)
{
	fire(timer, now_ns);
	fp_timer_stop(&timers[1]);
	fp_timer_start(&kinds[0], timer, now_ns + 3600u * (uint64_t)1000000000);
}

static void timers_come_in_order(void)
{
	fp_loop_add_timers(&loop, &kinds[0]);
	fp_loop_add_timers(&loop, &kinds[1]);
	for (int i = 0; i < 6; i++)
		fp_timer_init(&timers[i], fire);
	fp_timer_init(&timers[2], fire_and_meddle);
	uint64_t soon = fp_clock_ns() + 2000000;
	fp_timer_start(&kinds[0], &timers[0], soon);
	fp_timer_start(&kinds[0], &timers[1], soon); /* stopped by 2 */
	fp_timer_start(&kinds[0], &timers[2], 7);    /* the longest overdue, though the last to be started */
	fp_timer_start(&kinds[0], &timers[3], 8);
	fp_timer_start(&kinds[1], &timers[4], soon);
	fp_timer_start(&kinds[1], &timers[5], soon);
	fp_timer_start(&kinds[1], &timers[4], soon); /* anew: behind 5 now */
	fp_loop_turn(&loop);
	CHECK(fired == 2 && order[0] == 2 && order[1] == 3);
	while (fired < 5) {
		fp_loop_turn(&loop); /* sleeps until they are due */
		CHECK(fired == 2 || fp_clock_ns() >= soon);
	}
	CHECK(order[2] == 0 && order[3] == 5 && order[4] == 4);
	CHECK(!fp_list_empty(&timers[2].node));
	fp_timer_stop(&timers[2]);
}

static struct fp_timer crowd[300];
static struct fp_timers crowds;

static void count_one(struct fp_timer *timer, uint64_t now_ns)
{
	(void)timer;
	(void)now_ns;
	calls++;
}

/* Who has many connections that report at the same second holds nobody up for all of them. */
static void many_timers_come_in_turns(void)
{
	int turns = 0;
	calls = 0;
	fp_loop_add_timers(&loop, &crowds);
	for (int i = 0; i < 300; i++) {
		fp_timer_init(&crowd[i], count_one);
		fp_timer_start(&crowds, &crowd[i], 1);
	}
	for (; calls < 300; turns++)
		fp_loop_turn(&loop); /* does not sleep */
	CHECK(turns > 1 && calls == 300);
}

static struct fp_task first_task, second_task, third_task;
static int rounds;

static void once_more(struct fp_task *task)
{
	calls++;
	if (calls == 1)
		fp_loop_defer(&loop, task);
	fp_task_cancel(&second_task);
}

static void not_called(struct fp_task *task)
{
	(void)task;
	CHECK(!"a task that was cancelled ran");
}

static void next_round(struct fp_task *task)
{
	(void)task;
	rounds++;
}

static void tasks_come_once_and_in_rounds(void)
{
	calls = rounds = 0;
	fp_task_init(&first_task, once_more);
	fp_task_init(&second_task, not_called);
	fp_task_init(&third_task, next_round);
	fp_loop_defer(&loop, &first_task);
	fp_loop_defer(&loop, &first_task);
	fp_loop_defer(&loop, &second_task);
	fp_loop_defer(&loop, &third_task);
	fp_loop_turn(&loop);
	CHECK(calls == 1 && rounds == 1);
	fp_loop_turn(&loop); /* does not sleep */
	CHECK(calls == 2 && rounds == 1 && fp_list_empty(&loop.tasks));
}

static struct fp_lane many, few;
static struct fp_task queued[4];

static void note(struct fp_task *task)
{
	order[fired++] = (int)(task - queued);
	if (task == &queued[0] && fired == 1)
		fp_loop_queue(&loop, &many, task); /* has more to do */
}

/* Who has much to do has as many turns as who has little, and one task at most is run before the next events. */
static void lanes_take_turns(void)
{
	static const int wanted[] = { 0, 3, 1, 2, 0 };
	fired = 0;
	fp_lane_init(&many);
	fp_lane_init(&few);
	for (int i = 0; i < 4; i++) {
		fp_task_init(&queued[i], note);
		fp_loop_queue(&loop, i < 3 ? &many : &few, &queued[i]);
		fp_loop_queue(&loop, &few, &queued[i]); /* has its place */
	}
	for (int i = 0; i < 5; i++) {
		fp_loop_turn(&loop);
		CHECK(fired == i + 1);
	}
	for (int i = 0; i < 5; i++)
		CHECK(order[i] == wanted[i]);
	CHECK(fp_list_empty(&loop.lanes));
	fp_loop_queue(&loop, &few, &queued[3]);
	fp_task_cancel(&queued[3]);
	fp_lane_leave(&few);
	CHECK(fp_list_empty(&loop.lanes));
}

int main(void)
{
	CHECK(fp_loop_open(&loop) == 0);
	the_forgotten_are_not_called();
	the_unwatched_stay_open_and_silent();
	timers_come_in_order();
	many_timers_come_in_turns();
	tasks_come_once_and_in_rounds();
	lanes_take_turns();
	fp_loop_close(&loop);
	return 0;
}
