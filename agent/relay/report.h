/* Where a worker's connections report to: into the ring at once, or summed with those that are alike for a while. */
#ifndef FP_REPORT_H
#define FP_REPORT_H
#include "events.h"
#include "loop.h"

struct fp_reporter {
	struct fp_ring *ring;
	struct fp_bell *bell;
	struct fp_timers timers;
	struct fp_timer sums_due;
	uint64_t period_ns; /* how often a live connection reports */
	bool each;          /* each connection by itself */
	struct fp_tally tally;
};

void fp_reporter_init(struct fp_reporter *reporter, struct fp_loop *loop, struct fp_ring *ring, struct fp_bell *bell);
void fp_report(struct fp_reporter *reporter, const struct fp_event *event, uint64_t now_ns);
/* What is still being summed. */
void fp_report_sums(struct fp_reporter *reporter);
#endif
