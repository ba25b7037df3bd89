#include "conn.h"

#include <string.h>
#include <time.h>

#include "sandbox.h"

static uint64_t wall_clock_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Report what is new. `ended`: it is over, for this reason. */
static void tell(struct fp_conn *conn, uint64_t now_ns, bool ended, enum fp_reason reason)
{
	const struct fp_flow *flow = &conn->flow;
	const struct fp_choice *choice = &conn->upstream.choice;
	struct fp_told *told = &conn->told;
	const uint64_t bytes[2] = { conn->pipe.way[FP_CLIENT].bytes, conn->pipe.way[FP_SERVER].bytes };
	struct fp_event event = {
		.client = flow->client,
		.client_port_be = flow->client_port_be,
		.dst = flow->dst,
		.dst_port_be = flow->dst_port_be,
		.endpoint = choice->endpoint,
		.endpoint_port_be = choice->endpoint_port_be,
		.service = choice->service,
		.netns_cookie = conn->sandbox->cookie,
		.started_ns = conn->started_at_ns,
		.duration_ns = ended ? now_ns - conn->started_ns : 0,
		.bytes_to_server = bytes[FP_CLIENT] - told->bytes[FP_CLIENT],
		.bytes_to_client = bytes[FP_SERVER] - told->bytes[FP_SERVER],
		.earlier_to_server = told->bytes[FP_CLIENT],
		.earlier_to_client = told->bytes[FP_SERVER],
		.opened = !told->opened,
		.connections = ended,
		.reason = reason,
	};
	fp_report(conn->conns->reporter, &event, now_ns);
	*told = (struct fp_told){ .opened = true, .bytes = { bytes[FP_CLIENT], bytes[FP_SERVER] } };
}

/* OK: both peers see an orderly end; any other reason: a reset. */
static void close_conn(struct fp_conn *conn, enum fp_reason reason)
{
	struct fp_conns *conns = conn->conns;
	if (conn->state == FP_RELAYING)
		fp_pipe_stop(&conn->pipe);
	for (int i = 0; i < 2; i++) {
		if (conn->end[i])
			conn->end[i]->ops->close(conn->end[i], reason == FP_CLOSE_OK ? FP_STREAM_ORDERLY : FP_STREAM_RESET);
		conn->end[i] = NULL;
	}
	fp_upstream_close(&conn->upstream);
	conn->state = FP_CLOSED;
	fp_timer_stop(&conn->report);
	fp_list_remove(&conn->all);
	/* Who called this may be on its way back through the connection's own callbacks. */
	fp_list_append(&conns->dead, &conn->all);
	fp_loop_defer(conns->loop, &conns->bury);

	tell(conn, fp_clock_ns(), true, reason);
	fp_count(&conns->stats->closed[reason], 1);
	fp_active_add(conns->stats, -1);
	atomic_fetch_sub_explicit(&conn->sandbox->active, 1, memory_order_relaxed);
}

static void bury(struct fp_task *task)
{
	struct fp_conns *conns = fp_container(task, struct fp_conns, bury);
	while (!fp_list_empty(&conns->dead)) {
		struct fp_conn *conn = fp_container(conns->dead.next, struct fp_conn, all);
		fp_list_remove(&conn->all);
		fp_slab_give(&conns->slab, conn);
	}
}

/* At whole seconds, so that many connections report in one waking. The same period for all keeps them in order. */
static void report_later(struct fp_conn *conn, uint64_t now_ns)
{
	const uint64_t second = 1000000000u;
	uint64_t due_ns = now_ns + conn->conns->reporter->period_ns;
	fp_timer_start(&conn->conns->reports, &conn->report, (due_ns + second - 1) / second * second);
}

static void report_due(struct fp_timer *timer, uint64_t now_ns)
{
	struct fp_conn *conn = fp_container(timer, struct fp_conn, report);
	uint64_t bytes = conn->pipe.way[FP_CLIENT].bytes + conn->pipe.way[FP_SERVER].bytes;
	if (!conn->told.opened || bytes > conn->told.bytes[FP_CLIENT] + conn->told.bytes[FP_SERVER])
		tell(conn, now_ns, false, FP_CLOSE_OK);
	report_later(conn, now_ns);
}

static void piped(struct fp_pipe *pipe, enum fp_pipe_end how)
{
	static const enum fp_reason reasons[] = {
		[FP_PIPE_FINISHED] = FP_CLOSE_OK,
		[FP_PIPE_CLIENT_DIED] = FP_CLOSE_CLIENT_RESET,
		[FP_PIPE_SERVER_DIED] = FP_CLOSE_SERVER_RESET,
	};
	close_conn(fp_container(pipe, struct fp_conn, pipe), reasons[how]);
}

static void connected(struct fp_upstream *upstream, struct fp_stream *server, enum fp_reason failure)
{
	struct fp_conn *conn = fp_container(upstream, struct fp_conn, upstream);
	if (!server) {
		close_conn(conn, failure);
		return;
	}
	conn->end[FP_SERVER] = server;
	conn->state = FP_RELAYING;
	report_later(conn, fp_clock_ns());
	fp_pipe_start(&conn->pipe, conn->conns->pipes, &conn->sandbox->presence[conn->conns->worker].party,
		      conn->end[FP_CLIENT], server, piped);
}

/* While the server is being dialled, what the client sends waits where it is; only its death matters. */
static void client_changed(struct fp_stream *stream, bool room)
{
	(void)room;
	if (stream->failed)
		close_conn(stream->user, FP_CLOSE_CLIENT_RESET);
}

static struct fp_conn *new_conn(struct fp_conns *conns, struct fp_sandbox *sandbox, struct fp_stream *client,
				const struct fp_flow *flow)
{
	struct fp_conn *conn = fp_slab_take(&conns->slab);
	fp_count(&conns->stats->accepted, 1);
	if (!conn) {
		client->ops->close(client, FP_STREAM_RESET);
		fp_count(&conns->stats->closed[FP_CLOSE_NO_MEMORY], 1);
		return NULL;
	}
	memset(conn, 0, sizeof(*conn));
	conn->conns = conns;
	conn->end[FP_CLIENT] = client;
	conn->state = FP_CONNECTING;
	conn->sandbox = sandbox;
	conn->flow = *flow;
	conn->started_ns = fp_clock_ns();
	conn->started_at_ns = wall_clock_ns();
	conn->upstream = (struct fp_upstream){
		.from = { .netns_fd = sandbox->netns_fd, .source = flow->source },
		.dst = flow->dst,
		.dst_port_be = flow->dst_port_be,
		.choice.service = flow->service,
	};
	fp_timer_init(&conn->upstream.timeout, NULL);
	fp_timer_init(&conn->report, report_due);
	fp_list_init(&conn->all);
	fp_list_append(&conns->live, &conn->all);
	fp_stream_use(client, client_changed, conn);
	fp_active_add(conns->stats, 1);
	atomic_fetch_add_explicit(&sandbox->active, 1, memory_order_relaxed);
	return conn;
}

struct fp_conn *fp_conn_open(struct fp_conns *conns, struct fp_sandbox *sandbox, struct fp_stream *client,
			     const struct fp_flow *flow)
{
	struct fp_conn *conn = new_conn(conns, sandbox, client, flow);
	if (conn)
		fp_upstream_open(&conn->upstream, conns->upstreams, connected);
	return conn;
}

void fp_conn_refuse(struct fp_conns *conns, struct fp_sandbox *sandbox, struct fp_stream *client,
		    const struct fp_flow *flow, enum fp_reason reason)
{
	struct fp_conn *conn = new_conn(conns, sandbox, client, flow);
	if (conn)
		close_conn(conn, reason);
}

void fp_conns_evict(struct fp_conns *conns, const struct fp_sandbox *sandbox)
{
	struct fp_node *next;
	for (struct fp_node *node = conns->live.next; node != &conns->live; node = next) {
		struct fp_conn *conn = fp_container(node, struct fp_conn, all);
		next = node->next;
		if (!sandbox || conn->sandbox == sandbox)
			close_conn(conn, FP_CLOSE_SHUTDOWN);
	}
}

void fp_conns_init(struct fp_conns *conns, struct fp_loop *loop)
{
	conns->loop = loop;
	fp_slab_init(&conns->slab, sizeof(struct fp_conn));
	fp_list_init(&conns->live);
	fp_list_init(&conns->dead);
	fp_task_init(&conns->bury, bury);
	fp_loop_add_timers(loop, &conns->reports);
}

void fp_conns_clear(struct fp_conns *conns)
{
	bury(&conns->bury);
	fp_slab_clear(&conns->slab);
}
