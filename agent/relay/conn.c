#include "conn.h"

#include <string.h>
#include <time.h>

#include "sandbox.h"
#include "tcp.h"
#include "wishes.h"

/* What a client that is gone has left unsent may wait so long for a server that does not read: about what its own kernel
 * would give it (tcp_orphan_retries of ip-sysctl). */
#define FP_ORPHAN_NS (100 * (uint64_t)1000000000)

enum { FP_HALF_KEEPALIVE_S = 15 };

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
		.inbound = flow->inbound,
		.caller = flow->caller,
		.policies = conn->policies,
		.decision = conn->decision,
	};
	fp_report(conn->conns->reporter, &event, now_ns);
	*told = (struct fp_told){ .opened = true, .bytes = { bytes[FP_CLIENT], bytes[FP_SERVER] } };
}

/* Whether both peers see an orderly end. A client that is gone has ended its direction, and so does the server see it;
 * what the server still sends the kernel answers with a reset, as it would without us. */
static bool is_orderly(const struct fp_conn *conn, enum fp_reason reason)
{
	if (reason == FP_CLOSE_IDLE_TIMEOUT || reason == FP_CLOSE_MAX_DURATION)
		return true;
	return reason == FP_CLOSE_OK || (reason == FP_CLOSE_CLIENT_GONE && conn->pipe.way[FP_CLIENT].done);
}

static void forget_greeting(struct fp_conn *conn)
{
	if (conn->greet)
		fp_greet_end(conn->greet);
	conn->greet = NULL;
}

/* What its sockets hold now. */
static void weigh(struct fp_conn *conn)
{
	fp_kmem_set(conn->conns->kmem, &conn->sandbox->kmem, &conn->held,
		    fp_kmem_of(conn->end[FP_CLIENT]) + fp_kmem_of(conn->end[FP_SERVER]));
}

/* Its pod has more than its share, and this one no less than an even part of that. */
static bool is_heavy(const struct fp_conn *conn)
{
	uint64_t all_its = atomic_load_explicit(&conn->sandbox->kmem, memory_order_relaxed);
	uint32_t active = atomic_load_explicit(&conn->sandbox->active, memory_order_relaxed);
	return !fp_kmem_has_room(conn->conns->kmem, &conn->sandbox->kmem) && (uint64_t)conn->held * active >= all_its;
}

void fp_conn_close(struct fp_conn *conn, enum fp_reason reason)
{
	struct fp_conns *conns = conn->conns;
	enum fp_stream_end end = is_orderly(conn, reason) ? FP_STREAM_ORDERLY : FP_STREAM_RESET;
	if (conn->state == FP_RELAYING)
		fp_pipe_stop(&conn->pipe);
	for (int i = 0; i < 2; i++) {
		if (conn->end[i])
			conn->end[i]->ops->close(conn->end[i], end);
		conn->end[i] = NULL;
	}
	fp_upstream_close(&conn->upstream);
	forget_greeting(conn);
	conn->state = FP_CLOSED;
	fp_life_stop(&conn->life);
	fp_timer_stop(&conn->report);
	fp_timer_stop(&conn->wishes);
	fp_timer_stop(&conn->look);
	fp_list_remove(&conn->all);
	fp_list_remove(&conn->of_pod);
	fp_list_remove(&conn->of_verdict);
	/* Who called this may be on its way back through the connection's own callbacks. */
	fp_list_append(&conns->dead, &conn->all);
	fp_loop_defer(conns->loop, &conns->bury);

	tell(conn, fp_clock_ns(), true, reason);
	fp_count(&conns->stats->closed[reason], 1);
	fp_active_add(conns->stats, -1);
	atomic_fetch_sub_explicit(&conn->sandbox->active, 1, memory_order_relaxed);
	fp_kmem_set(conns->kmem, &conn->sandbox->kmem, &conn->held, 0);
}

void fp_conns_bury(struct fp_conns *conns)
{
	while (!fp_list_empty(&conns->dead)) {
		struct fp_conn *conn = fp_container(conns->dead.next, struct fp_conn, all);
		fp_list_remove(&conn->all);
		if (conn->home == &conns->slab)
			fp_slab_give(conn->home, conn);
		else
			fp_slab_return(conn->home, conn);
	}
}

static void bury(struct fp_task *task)
{
	fp_conns_bury(fp_container(task, struct fp_conns, bury));
}

/* At whole seconds, so that many connections report in one waking. The same period for all keeps them in order. */
static void report_later(struct fp_conn *conn, uint64_t now_ns)
{
	const uint64_t second = 1000000000u;
	uint64_t due_ns = now_ns + conn->conns->reporter->period_ns;
	fp_timer_start(&conn->conns->reports, &conn->report, (due_ns + second - 1) / second * second);
}

static enum fp_peer ask_client(struct fp_conn *conn)
{
	const struct fp_stream *client = conn->end[FP_CLIENT];
	/* Who calls a pod may be anywhere. */
	if (!conn->conns->peers || !client->ops->socket || conn->flow.inbound)
		return FP_PEER_UNKNOWN;
	return fp_peer_ask(conn->conns->peers, conn->sandbox->netns_fd, client->ops->socket(client));
}

static void look_later(struct fp_conn *conn, uint64_t now_ns)
{
	bool later = conn->looks == FP_FIRST_LOOKS;
	conn->looks += !later;
	uint64_t ms = later ? FP_LATER_LOOKS_MS : FP_FIRST_LOOKS_MS;
	fp_timer_start(&conn->conns->looks[later], &conn->look, now_ns + ms * 1000000);
}

static void look_due(struct fp_timer *timer, uint64_t now_ns)
{
	struct fp_conn *conn = fp_container(timer, struct fp_conn, look);
	if (ask_client(conn) == FP_PEER_GONE)
		fp_conn_close(conn, FP_CLOSE_CLIENT_GONE);
	else
		look_later(conn, now_ns);
}

/* Applications set options after connect() as well, and whenever they like. */
static void carry_wishes(struct fp_conn *conn)
{
	const struct fp_stream *server = conn->end[FP_SERVER];
	if (!server->ops->socket || conn->flow.inbound || !fp_flow_wishes(&conn->conns->records, &conn->flow))
		return;
	struct tg_wishes wishes = conn->flow.wishes;
	const struct fp_keepalive *rule = &conn->upstream.from.keepalive;
	if (rule->time_s || rule->interval_s || rule->probes) /* as when it was dialled: a rule about it wins */
		wishes.keepalive = 0;
	fp_wishes_apply(server->ops->socket(server), &wishes);
}

/* The other side may keep its direction open for ever, also after it is gone. The client is asked for; of a server, which
 * may be far away, the kernel's own probes tell, once it does not know of the connection any more. They tell of a client
 * too where there is nobody to ask, later. */
static void probe(const struct fp_stream *stream)
{
	if (stream->ops->socket)
		fp_tcp_probe(stream->ops->socket(stream), FP_HALF_KEEPALIVE_S);
}

/* In the system's time, which is hours, so that a connection that is over in its first second need not pay for it. */
static void keep_alive(const struct fp_stream *server)
{
	if (server->ops->socket)
		fp_tcp_keep_alive(server->ops->socket(server));
}

static bool is_probed_sooner(const struct fp_conn *conn, enum fp_side side)
{
	const struct tg_wishes *wishes = &conn->flow.wishes;
	return side == FP_SERVER && wishes->keepalive && wishes->set & TG_WISH_IDLE &&
	       wishes->idle_s < FP_HALF_KEEPALIVE_S;
}

static void wishes_later(struct fp_conn *conn, uint64_t now_ns)
{
	fp_timer_start(&conn->conns->first_wishes, &conn->wishes, now_ns + FP_FIRST_WISHES_MS * (uint64_t)1000000);
}

static void wishes_due(struct fp_timer *timer, uint64_t now_ns)
{
	struct fp_conn *conn = fp_container(timer, struct fp_conn, wishes);
	weigh(conn);
	if (conn->state != FP_RELAYING) {
		wishes_later(conn, now_ns);
		return;
	}
	keep_alive(conn->end[FP_SERVER]);
	carry_wishes(conn);
	for (int side = 0; side < 2; side++) {
		if (conn->halved[side] && !is_probed_sooner(conn, side))
			probe(conn->end[side]);
	}
}

/* Most that half-close are over in a moment: who is not is probed then, which others need not pay for. */
static void halved(struct fp_pipe *pipe, enum fp_side from)
{
	struct fp_conn *conn = fp_container(pipe, struct fp_conn, pipe);
	uint64_t now_ns = fp_clock_ns();
	if (from == FP_CLIENT)
		look_later(conn, now_ns);
	conn->halved[from] = true;
	if (fp_list_empty(&conn->wishes.node))
		wishes_later(conn, now_ns);
}

/* A client that is gone cannot end its direction while bytes of it wait for a server that does not read, and nothing else
 * would ever end such a connection. */
static bool is_abandoned(struct fp_conn *conn, bool moved, uint64_t now_ns)
{
	if (moved || !conn->pipe.way[FP_CLIENT].length || ask_client(conn) != FP_PEER_GONE)
		conn->gone_ns = 0;
	else if (!conn->gone_ns)
		conn->gone_ns = now_ns;
	return conn->gone_ns && now_ns - conn->gone_ns >= FP_ORPHAN_NS;
}

static void report_due(struct fp_timer *timer, uint64_t now_ns)
{
	struct fp_conn *conn = fp_container(timer, struct fp_conn, report);
	uint64_t bytes = conn->pipe.way[FP_CLIENT].bytes + conn->pipe.way[FP_SERVER].bytes;
	uint64_t told = conn->told.bytes[FP_CLIENT] + conn->told.bytes[FP_SERVER];
	bool moved = bytes > told;
	if (is_abandoned(conn, moved, now_ns)) {
		fp_conn_close(conn, FP_CLOSE_CLIENT_GONE);
		return;
	}
	weigh(conn);
	if (!moved && is_heavy(conn)) {
		fp_conn_close(conn, FP_CLOSE_NO_MEMORY);
		return;
	}
	carry_wishes(conn);
	if (!conn->told.opened || moved)
		tell(conn, now_ns, false, FP_CLOSE_OK);
	report_later(conn, now_ns);
	if (bytes - told < FP_CALM_BYTES && conn->conns->calm)
		conn->conns->calm(conn);
}

static void piped(struct fp_pipe *pipe, enum fp_pipe_end how)
{
	static const enum fp_reason reasons[] = {
		[FP_PIPE_FINISHED] = FP_CLOSE_OK,
		[FP_PIPE_CLIENT_DIED] = FP_CLOSE_CLIENT_RESET,
		[FP_PIPE_SERVER_DIED] = FP_CLOSE_SERVER_RESET,
	};
	fp_conn_close(fp_container(pipe, struct fp_conn, pipe), reasons[how]);
}

static uint64_t count_bytes(struct fp_life *life)
{
	const struct fp_pipe *pipe = &fp_container(life, struct fp_conn, life)->pipe;
	return pipe->way[FP_CLIENT].bytes + pipe->way[FP_SERVER].bytes;
}

static void life_over(struct fp_life *life, enum fp_life_end how)
{
	fp_conn_close(fp_container(life, struct fp_conn, life),
		      how == FP_LIFE_IDLE ? FP_CLOSE_IDLE_TIMEOUT : FP_CLOSE_MAX_DURATION);
}

static void connected(struct fp_upstream *upstream, struct fp_stream *server, enum fp_reason failure)
{
	struct fp_conn *conn = fp_container(upstream, struct fp_conn, upstream);
	if (!server) {
		fp_conn_close(conn, failure);
		return;
	}
	forget_greeting(conn);
	conn->end[FP_SERVER] = server;
	conn->state = FP_RELAYING;
	uint64_t now_ns = fp_clock_ns();
	report_later(conn, now_ns);
	wishes_later(conn, now_ns);
	fp_life_start(&conn->life, &conn->conns->lives, upstream->idle_ms, upstream->duration_ms, conn->started_ns,
		      count_bytes, life_over);
	fp_pipe_start(&conn->pipe, conn->conns->pipes, &conn->sandbox->presence[conn->conns->worker].party,
		      conn->end[FP_CLIENT], server, halved, piped);
}

/* While the server is being dialled, what the client sends waits where it is; only its death matters. */
static void client_changed(struct fp_stream *stream, bool room)
{
	(void)room;
	if (stream->failed)
		fp_conn_close(stream->user, FP_CLOSE_CLIENT_RESET);
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
	conn->home = &conns->slab;
	conn->end[FP_CLIENT] = client;
	conn->state = FP_CONNECTING;
	conn->sandbox = sandbox;
	conn->flow = *flow;
	conn->started_ns = fp_clock_ns();
	conn->started_at_ns = wall_clock_ns();
	conn->upstream = (struct fp_upstream){
		.from = { .netns_fd = sandbox->netns_fd, .source = flow->source, .wishes = flow->wishes },
		.straight = flow->inbound,
		.asked = { .dst = flow->dst, .client = sandbox->cookie },
		.dst_port_be = flow->dst_port_be,
		.row = flow->service,
		.choice.service = flow->service,
	};
	if (flow->inbound) {
		conn->upstream.from.called_for = flow->client;
		conn->upstream.from.called_for_port_be = flow->client_port_be;
		conn->upstream.from.called_fd = conns->records.called_fd;
	}
	fp_timer_init(&conn->upstream.timeout, NULL);
	fp_timer_init(&conn->upstream.delay, NULL);
	fp_timer_init(&conn->report, report_due);
	fp_timer_init(&conn->wishes, wishes_due);
	fp_timer_init(&conn->look, look_due);
	fp_life_init(&conn->life);
	fp_list_init(&conn->all);
	fp_list_append(&conns->live, &conn->all);
	fp_list_init(&conn->of_pod);
	fp_list_init(&conn->of_verdict);
	fp_list_append(&sandbox->presence[conns->worker].conns, &conn->of_pod);
	fp_stream_use(client, client_changed, conn);
	fp_active_add(conns->stats, 1);
	atomic_fetch_add_explicit(&sandbox->active, 1, memory_order_relaxed);
	wishes_later(conn, conn->started_ns);
	return conn;
}

static void greeted(void *user, const char *name)
{
	struct fp_conn *conn = user;
	fp_stream_use(conn->end[FP_CLIENT], client_changed, conn);
	conn->upstream.asked.name = name;
	conn->upstream.from.bytes_wait = name;
	fp_upstream_open(&conn->upstream, conn->conns->upstreams, connected);
}

static void died_silent(void *user)
{
	fp_conn_close(user, FP_CLOSE_CLIENT_RESET);
}

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

bool fp_conn_judge(struct fp_conn *conn, bool late)
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

struct fp_conn *fp_conn_open(struct fp_conns *conns, struct fp_sandbox *sandbox, struct fp_stream *client,
			     const struct fp_flow *flow)
{
	struct fp_conn *conn = new_conn(conns, sandbox, client, flow);
	if (!conn)
		return NULL;
	if (flow->inbound) {
		fp_list_append(&conns->judged, &conn->of_verdict);
		if (!fp_conn_judge(conn, false))
			return conn;
	}
	if (!fp_upstream_wants_name(&conn->upstream, conns->upstreams)) {
		conn->upstream.from.bytes_wait = client->ops->arrived && client->ops->arrived(client);
		fp_upstream_open(&conn->upstream, conns->upstreams, connected);
		return conn;
	}
	conn->greet = fp_greet_wait(&conns->greets, client, conn, greeted, died_silent);
	if (conn->greet)
		fp_greet_look(conn->greet);
	else
		fp_conn_close(conn, FP_CLOSE_NO_MEMORY);
	return conn;
}

void fp_conn_refuse(struct fp_conns *conns, struct fp_sandbox *sandbox, struct fp_stream *client,
		    const struct fp_flow *flow, enum fp_reason reason)
{
	struct fp_conn *conn = new_conn(conns, sandbox, client, flow);
	if (conn)
		fp_conn_close(conn, reason);
}

bool fp_conn_is_relaying(const struct fp_conn *conn)
{
	return conn->state == FP_RELAYING;
}

bool fp_conns_evict(struct fp_presence *presence, int most)
{
	while (most-- && !fp_list_empty(&presence->conns))
		fp_conn_close(fp_container(presence->conns.next, struct fp_conn, of_pod), FP_CLOSE_SHUTDOWN);
	return !fp_list_empty(&presence->conns);
}

void fp_conns_end(struct fp_conns *conns)
{
	while (!fp_list_empty(&conns->live))
		fp_conn_close(fp_container(conns->live.next, struct fp_conn, all), FP_CLOSE_SHUTDOWN);
}

void fp_conns_init(struct fp_conns *conns, struct fp_loop *loop)
{
	conns->loop = loop;
	fp_slab_init(&conns->slab, sizeof(struct fp_conn));
	fp_list_init(&conns->live);
	fp_list_init(&conns->dead);
	fp_task_init(&conns->bury, bury);
	fp_list_init(&conns->judged);
	fp_list_init(&conns->unjudged);
	fp_loop_add_timers(loop, &conns->reports);
	fp_loop_add_timers(loop, &conns->first_wishes);
	for (int i = 0; i < 2; i++)
		fp_loop_add_timers(loop, &conns->looks[i]);
	fp_lives_init(&conns->lives, loop);
	fp_greets_init(&conns->greets, loop);
}

void fp_conns_clear(struct fp_conns *conns)
{
	fp_conns_bury(conns);
	fp_slab_clear(&conns->slab);
	fp_greets_clear(&conns->greets);
}
