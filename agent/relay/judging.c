/* Connections to pods that policies are for: whether they may be, when they come and whenever something else holds. */
#include "conn.h"

#include "sandbox.h"

enum { FP_JUDGED = 64 }; /* connections of one turn, at a few microseconds each */

static enum fp_reason reason_of(const struct fp_policy_decision *decision, bool late)
{
	if (late)
		return FP_CLOSE_DENY_LATE;
	switch ((enum fp_policy_verdict)decision->verdict) {
	case FP_DENY_BY_POLICY:
		return FP_CLOSE_DENY_POLICY;
	case FP_DENY_NOT_ALLOWED:
		return FP_CLOSE_DENY_NOT_ALLOWED;
	case FP_ALLOW_NO_POLICY:
	case FP_ALLOW_BY_POLICY:
	case FP_DENY_UNKNOWN_WORKLOAD:
		break;
	}
	return FP_CLOSE_DENY_UNKNOWN;
}

static bool judge(struct fp_conn *conn, bool late)
{
	const struct fp_policies *policies = conn->conns->policies;
	const struct fp_flow *flow = &conn->flow;
	struct fp_subject subject = { .source = flow->client,
				      .destination = flow->dst,
				      .port = ntohs(flow->dst_port_be) };
	fp_policies_name(policies, flow->caller, &subject.name);
	fp_policies_decide(policies, conn->sandbox->cookie, &subject, &conn->decision);
	conn->policies = policies ? policies->head.generation : 0;
	if (fp_policy_allows(conn->decision.verdict))
		return true;
	fp_conn_close(conn, reason_of(&conn->decision, late));
	return false;
}

bool fp_conn_judge(struct fp_conn *conn)
{
	return judge(conn, false);
}

static void judge_some(struct fp_task *task)
{
	struct fp_conns *conns = fp_container(task, struct fp_conns, judging);
	for (int i = 0; i < FP_JUDGED && !fp_list_empty(&conns->unjudged); i++) {
		struct fp_conn *conn = fp_container(conns->unjudged.next, struct fp_conn, of_verdict);
		fp_list_remove(&conn->of_verdict);
		if (judge(conn, true))
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
	fp_list_init(&conns->judged);
	fp_list_init(&conns->unjudged);
	fp_task_init(&conns->judging, judge_some);
}
