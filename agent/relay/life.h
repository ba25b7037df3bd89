/* How long a connection may live: at most so long at all, and at most so long without a byte. Nothing is done when bytes move:
 * what moved is looked at now and then, ever more often towards the end, so a limit is kept within FP_LIFE_STEP_MS of its time, and
 * silence is noticed within a quarter more than what is allowed. */
#ifndef FP_LIFE_H
#define FP_LIFE_H
#include "loop.h"

enum { FP_LIFE_STEP_MS = 16, FP_LIFE_STEPS = 8 }; /* each step is four times the one before: up to four minutes */

/* Those of one worker. */
struct fp_lives {
	struct fp_loop *loop;
	struct fp_timers steps[FP_LIFE_STEPS];
	bool used[FP_LIFE_STEPS]; /* one that nobody needs costs a loop nothing */
};

enum fp_life_end { FP_LIFE_IDLE, FP_LIFE_OLD };

struct fp_life {
	struct fp_timer timer;
	struct fp_lives *lives;
	uint64_t idle_ns, most_ns; /* allowed; 0 = any */
	uint64_t began_ns;
	uint64_t moved_ns;                       /* when it was last seen that something had moved */
	uint64_t bytes;                          /* by then */
	uint64_t (*count)(struct fp_life *life); /* bytes so far */
	void (*over)(struct fp_life *life, enum fp_life_end how);
};

void fp_lives_init(struct fp_lives *lives, struct fp_loop *loop);
void fp_life_init(struct fp_life *life);
/* idle_ms, most_ms: 0 = any. began_ns: CLOCK_MONOTONIC. */
void fp_life_start(struct fp_life *life, struct fp_lives *lives, uint32_t idle_ms, uint32_t most_ms, uint64_t began_ns,
		   uint64_t (*count)(struct fp_life *), void (*over)(struct fp_life *, enum fp_life_end));
/* Once or more often, also if it was never started. */
void fp_life_stop(struct fp_life *life);
/* What was stopped to go on with another worker, with what is left of it. Nothing if it was never started. */
void fp_life_join(struct fp_life *life, struct fp_lives *lives);
#endif
