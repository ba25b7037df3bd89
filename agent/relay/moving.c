#include "moving.h"

#include "sandbox.h"

bool fp_conn_can_leave(const struct fp_conn *conn)
{
	return fp_conn_is_relaying(conn) && conn->sandbox->presence[conn->conns->worker].open &&
	       fp_pipe_is_empty(&conn->pipe) && conn->end[FP_CLIENT]->ops->leave && conn->end[FP_SERVER]->ops->leave;
}

/* Stopped, and due_ns says whether it ran. */
static void hold_timer(struct fp_timer *timer)
{
	if (fp_list_empty(&timer->node))
		timer->due_ns = 0;
	fp_timer_stop(timer);
}

static void resume_timer(struct fp_timers *timers, struct fp_timer *timer)
{
	if (timer->due_ns)
		fp_timer_start(timers, timer, timer->due_ns);
}

void fp_conn_leave(struct fp_conn *conn)
{
	fp_pipe_leave(&conn->pipe);
	for (int i = 0; i < 2; i++)
		conn->end[i]->ops->leave(conn->end[i]);
	hold_timer(&conn->report);
	hold_timer(&conn->wishes);
	hold_timer(&conn->look);
	fp_life_stop(&conn->life);
	fp_list_remove(&conn->all);
	fp_list_remove(&conn->of_pod);
	fp_list_remove(&conn->of_verdict);
	fp_moved_add(conn->conns->stats, -1);
}

void fp_conn_join(struct fp_conn *conn, struct fp_conns *conns)
{
	struct fp_presence *presence = &conn->sandbox->presence[conns->worker];
	conn->conns = conns;
	conn->upstream.upstreams = conns->upstreams;
	fp_list_append(&conns->live, &conn->all);
	fp_list_append(&presence->conns, &conn->of_pod);
	fp_moved_add(conns->stats, 1);
	if (conn->flow.inbound)
		fp_conn_judge_later(conn);
	resume_timer(&conns->reports, &conn->report);
	resume_timer(&conns->first_wishes, &conn->wishes);
	resume_timer(&conns->looks[conn->looks == FP_FIRST_LOOKS], &conn->look);
	fp_life_join(&conn->life, &conns->lives);
	fp_pipe_join(&conn->pipe, conns->pipes, &presence->party);
	int rc[2];
	for (int i = 0; i < 2; i++)
		rc[i] = conn->end[i]->ops->join(conn->end[i], conns->loop);
	if (rc[0] || rc[1])
		fp_conn_close(conn, FP_CLOSE_NO_MEMORY);
}
