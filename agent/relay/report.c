#include "report.h"

void fp_report_sums(struct fp_reporter *reporter)
{
	fp_timer_stop(&reporter->sums_due);
	fp_tally_tell(&reporter->tally, reporter->ring, reporter->bell);
}

static void due(struct fp_timer *timer, uint64_t now_ns)
{
	(void)now_ns;
	fp_report_sums(fp_container(timer, struct fp_reporter, sums_due));
}

void fp_reporter_init(struct fp_reporter *reporter, struct fp_loop *loop, struct fp_ring *ring, struct fp_bell *bell)
{
	reporter->ring = ring;
	reporter->bell = bell;
	fp_loop_add_timers(loop, &reporter->timers);
	fp_timer_init(&reporter->sums_due, due);
}

void fp_report(struct fp_reporter *reporter, const struct fp_event *event, uint64_t now_ns)
{
	if (reporter->each) {
		fp_ring_push(reporter->ring, reporter->bell, event);
		return;
	}
	fp_tally_add(&reporter->tally, reporter->ring, reporter->bell, event, now_ns);
	if (fp_list_empty(&reporter->sums_due.node))
		fp_timer_start(&reporter->timers, &reporter->sums_due, reporter->tally.due_ns);
}
