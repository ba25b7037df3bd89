#include "life.h"

#define NS_OF_MS 1000000u

/* The longest step within this time, or the shortest. All timers of a step wait equally long, so none costs a walk. */
static void look_within(struct fp_life *life, uint64_t now_ns, uint64_t within_ns)
{
	struct fp_lives *lives = life->lives;
	uint64_t step_ns = (uint64_t)FP_LIFE_STEP_MS * NS_OF_MS;
	int step = 0;
	while (step + 1 < FP_LIFE_STEPS && step_ns * 4 <= within_ns) {
		step_ns *= 4;
		step++;
	}
	if (!lives->used[step])
		fp_loop_add_timers(lives->loop, &lives->steps[step]);
	lives->used[step] = true;
	fp_timer_start(&lives->steps[step], &life->timer, now_ns + step_ns);
}

static uint64_t left_of(uint64_t end_ns, uint64_t now_ns)
{
	return end_ns > now_ns ? end_ns - now_ns : 0;
}

static void look_later(struct fp_life *life, uint64_t now_ns)
{
	uint64_t within_ns = UINT64_MAX;
	if (life->idle_ns) {
		uint64_t left_ns = left_of(life->moved_ns + life->idle_ns, now_ns);
		within_ns = left_ns < life->idle_ns / 4 ? left_ns : life->idle_ns / 4;
	}
	if (life->most_ns) {
		uint64_t left_ns = left_of(life->began_ns + life->most_ns, now_ns);
		within_ns = left_ns < within_ns ? left_ns : within_ns;
	}
	look_within(life, now_ns, within_ns);
}

static void look(struct fp_timer *timer, uint64_t now_ns)
{
	struct fp_life *life = fp_container(timer, struct fp_life, timer);
	uint64_t bytes = life->count(life);
	if (bytes != life->bytes)
		life->moved_ns = now_ns;
	life->bytes = bytes;
	if (life->most_ns && now_ns - life->began_ns >= life->most_ns)
		life->over(life, FP_LIFE_OLD);
	else if (life->idle_ns && now_ns - life->moved_ns >= life->idle_ns)
		life->over(life, FP_LIFE_IDLE);
	else
		look_later(life, now_ns);
}

void fp_lives_init(struct fp_lives *lives, struct fp_loop *loop)
{
	*lives = (struct fp_lives){ .loop = loop };
}

void fp_life_init(struct fp_life *life)
{
	fp_timer_init(&life->timer, look);
}

void fp_life_start(struct fp_life *life, struct fp_lives *lives, uint32_t idle_ms, uint32_t most_ms, uint64_t began_ns,
		   uint64_t (*count)(struct fp_life *), void (*over)(struct fp_life *, enum fp_life_end))
{
	if (!idle_ms && !most_ms)
		return;
	life->lives = lives;
	life->idle_ns = (uint64_t)idle_ms * NS_OF_MS;
	life->most_ns = (uint64_t)most_ms * NS_OF_MS;
	life->began_ns = began_ns;
	life->moved_ns = fp_clock_ns();
	life->bytes = count(life);
	life->count = count;
	life->over = over;
	look_later(life, life->moved_ns);
}

void fp_life_join(struct fp_life *life, struct fp_lives *lives)
{
	life->lives = lives;
	if (life->over)
		look_later(life, fp_clock_ns());
}

void fp_life_stop(struct fp_life *life)
{
	fp_timer_stop(&life->timer);
}
