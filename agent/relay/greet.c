#include "greet.h"

static void tell(struct fp_greet *greet, bool named)
{
	fp_timer_stop(&greet->timeout);
	greet->heard(greet->user, named ? greet->name : NULL);
}

void fp_greet_look(struct fp_greet *greet)
{
	struct fp_stream *client = greet->client;
	char *bytes = greet->greets->bytes;
	ssize_t n = client->ops->peek(client, bytes, sizeof(greet->greets->bytes));
	if (n == -EAGAIN)
		return;
	if (n < 0) {
		fp_timer_stop(&greet->timeout);
		greet->died(greet->user);
		return;
	}
	enum fp_hello said = fp_hello_read(bytes, (size_t)n, greet->name);
	/* Each new segment is told, so this waits for it, unless none comes any more. */
	if (said != FP_HELLO_MORE || !n || client->ending)
		tell(greet, said == FP_HELLO_NAMED);
}

static void changed(struct fp_stream *client, bool room)
{
	struct fp_greet *greet = client->user;
	(void)room;
	if (client->failed) {
		fp_timer_stop(&greet->timeout);
		greet->died(greet->user);
	} else if (client->readable) {
		fp_greet_look(greet);
	}
}

static void timed_out(struct fp_timer *timer, uint64_t now_ns)
{
	(void)now_ns;
	tell(fp_container(timer, struct fp_greet, timeout), false);
}

struct fp_greet *fp_greet_wait(struct fp_greets *greets, struct fp_stream *client, void *user,
			       void (*heard)(void *, const char *), void (*died)(void *))
{
	struct fp_greet *greet = client->ops->peek ? fp_slab_take(&greets->slab) : NULL;
	if (!greet)
		return NULL;
	*greet = (struct fp_greet){ .greets = greets, .client = client, .user = user, .heard = heard, .died = died };
	fp_timer_init(&greet->timeout, timed_out);
	fp_timer_start(&greets->timeouts, &greet->timeout, fp_clock_ns() + FP_GREET_MS * (uint64_t)1000000);
	fp_stream_use(client, changed, greet);
	return greet;
}

void fp_greet_end(struct fp_greet *greet)
{
	fp_timer_stop(&greet->timeout);
	fp_slab_give(&greet->greets->slab, greet);
}

void fp_greets_init(struct fp_greets *greets, struct fp_loop *loop)
{
	fp_slab_init(&greets->slab, sizeof(struct fp_greet));
	fp_loop_add_timers(loop, &greets->timeouts);
}

void fp_greets_clear(struct fp_greets *greets)
{
	fp_slab_clear(&greets->slab);
}
