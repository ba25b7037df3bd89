/* Connections to pods that policies are for: those that live are judged anew whenever something else holds. */
#include "conn.h"

enum { FP_JUDGED = 64 }; /* connections of one turn, at a few microseconds each */

static void judge_some(struct fp_task *task)
{
	struct fp_conns *conns = fp_container(task, struct fp_conns, judging);
	for (int i = 0; i < FP_JUDGED && !fp_list_empty(&conns->unjudged); i++) {
		struct fp_conn *conn = fp_container(conns->unjudged.next, struct fp_conn, of_verdict);
		fp_list_remove(&conn->of_verdict);
		if (fp_conn_judge(conn, true))
			fp_list_append(&conns->judged, &conn->of_verdict);
	}
	if (!fp_list_empty(&conns->unjudged))
		fp_loop_defer(conns->loop, task);
}

void fp_conns_judge_by(struct fp_conns *conns, const struct fp_policies *policies)
{
	conns->policies = policies;
	while (!fp_list_empty(&conns->judged)) {
		struct fp_node *first = conns->judged.next;
		fp_list_remove(first);
		fp_list_append(&conns->unjudged, first);
	}
	if (!fp_list_empty(&conns->unjudged))
		fp_loop_defer(conns->loop, &conns->judging);
}

void fp_conn_judge_later(struct fp_conn *conn)
{
	struct fp_conns *conns = conn->conns;
	fp_list_append(&conns->unjudged, &conn->of_verdict);
	fp_loop_defer(conns->loop, &conns->judging);
}

void fp_judging_init(struct fp_conns *conns)
{
	fp_task_init(&conns->judging, judge_some);
}
