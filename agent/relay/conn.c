#include "conn.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "addr.h"
#include "dial.h"
#include "flow.h"
#include "relay.h"
#include "worker.h"

static uint64_t wall_clock_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void set_linger_reset(int fd)
{
	struct linger at_once = { .l_onoff = 1, .l_linger = 0 };
	/* close() then sends RST and drops what is queued. On a socket that already died it changes nothing. */
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

/* Send what is new; the caller has set what an end says. */
static void tell(struct fp_worker *w, struct fp_conn *conn, uint64_t now_ns)
{
	struct fp_event *event = &conn->event;
	event->opened = !conn->told;
	event->bytes_to_server = conn->stream[FP_CLIENT].bytes - event->earlier_to_server;
	event->bytes_to_client = conn->stream[FP_SERVER].bytes - event->earlier_to_client;
	if (w->shared->config.each_event)
		fp_ring_push(&w->ring, &w->shared->bell, event);
	else
		fp_tally_add(&w->tally, &w->ring, &w->shared->bell, event, now_ns);
	event->earlier_to_server = conn->stream[FP_CLIENT].bytes;
	event->earlier_to_client = conn->stream[FP_SERVER].bytes;
	conn->told = true;
}

void fp_conn_close(struct fp_worker *w, struct fp_conn *conn, enum fp_reason reason)
{
	if (conn->state == FP_CLOSED)
		return;
	for (int i = 0; i < 2; i++) {
		if (conn->side[i].fd >= 0 && reason != FP_CLOSE_OK)
			set_linger_reset(conn->side[i].fd);
		fp_stream_drop(w, &conn->stream[i]);
	}
	/* A client without an attempt under way has no server side and no endpoint counted up. */
	if (conn->side[FP_SERVER].fd >= 0)
		fp_dial_abandon(w, conn);
	close(conn->side[FP_CLIENT].fd);
	conn->side[FP_CLIENT].fd = -1;
	conn->state = FP_CLOSED;
	fp_list_remove(&conn->again);
	fp_list_remove(&conn->due);
	fp_list_remove(&conn->all);
	/* Events of this batch may still name the connection, so the memory is reused only after it. */
	fp_list_append(&w->dead, &conn->all);

	uint64_t now = fp_clock_ns();
	conn->event.reason = reason;
	conn->event.connections = 1;
	conn->event.duration_ns = now - conn->started_ns;
	tell(w, conn, now);
	fp_count(&w->stats.closed[reason], 1);
	atomic_store_explicit(&w->stats.active,
			      atomic_load_explicit(&w->stats.active, memory_order_relaxed) - 1, memory_order_relaxed);
	atomic_fetch_sub_explicit(&conn->sandbox->active, 1, memory_order_relaxed);
}

/* To whole seconds, so that many connections are reported in one waking. The same period for all keeps the list in order. */
static void report_later(struct fp_worker *w, struct fp_conn *conn, uint64_t now_ns)
{
	const uint64_t second = 1000000000u;
	uint64_t due = now_ns + w->shared->config.report_ms * (uint64_t)1000000;
	conn->deadline_ns = (due + second - 1) / second * second;
	fp_list_append(&w->living, &conn->due);
}

void fp_conn_report(struct fp_worker *w, struct fp_conn *conn, uint64_t now_ns)
{
	uint64_t told = conn->event.earlier_to_server + conn->event.earlier_to_client;
	if (!conn->told || conn->stream[FP_CLIENT].bytes + conn->stream[FP_SERVER].bytes > told)
		tell(w, conn, now_ns);
	fp_list_remove(&conn->due);
	report_later(w, conn, now_ns);
}

/* Dial, or close with the reason why not. */
static void dial_or_close(struct fp_worker *w, struct fp_conn *conn, enum fp_reason failure)
{
	int rc = fp_dial(w, conn, failure);
	if (rc != FP_DIALLING)
		fp_conn_close(w, conn, (enum fp_reason)rc);
}

static int identify(struct fp_worker *w, struct fp_conn *conn)
{
	struct tg_flow flow;
	const struct fp_sandbox *sandbox = conn->sandbox;
	const struct fp_ports *ports = &sandbox->ports;
	struct tg_flow_key key = {
		.netns_cookie = sandbox->cookie,
		.src = conn->event.client,
		.src_port_be = conn->event.client_port_be,
		.listener_port_be = fp_addr_is_v4(&conn->event.client) ? ports->port4_be : ports->port6_be,
		.tier = TG_TIER_FASTPATH,
	};
	int rc = fp_flow_find(w->shared->config.flows_fd, &key, &flow);
	if (rc)
		return rc;
	conn->event.dst = flow.dst;
	conn->event.dst_port_be = flow.dst_port_be;
	conn->event.service = flow.service;
	if (fp_addr_is_unset(&flow.client))
		return 0;
	/* Only a source that the routes would not choose anyway is the application's choice. */
	if (!fp_addr_equal(&flow.client, &sandbox->usual[fp_addr_is_v4(&flow.client) ? FP_LISTENER4 : FP_LISTENER6]))
		conn->bind_to = flow.client;
	conn->event.client = flow.client;
	return 0;
}

void fp_conn_open(struct fp_worker *w, struct fp_sandbox *sandbox, int fd, const struct tg_addr *peer,
		  uint16_t peer_port_be)
{
	fp_count(&w->stats.accepted, 1);
	struct fp_conn *conn = fp_slab_take(&w->slab);
	if (!conn) {
		set_linger_reset(fd);
		close(fd);
		fp_count(&w->stats.closed[FP_CLOSE_NO_MEMORY], 1);
		return;
	}
	memset(conn, 0, sizeof(*conn));
	conn->side[FP_CLIENT].fd = fd;
	conn->side[FP_SERVER].fd = -1;
	conn->state = FP_CONNECTING;
	conn->sandbox = sandbox;
	fp_list_init(&conn->again);
	fp_list_init(&conn->all);
	fp_list_init(&conn->due);
	fp_list_append(&w->conns, &conn->all);
	atomic_store_explicit(&w->stats.active,
			      atomic_load_explicit(&w->stats.active, memory_order_relaxed) + 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&sandbox->active, 1, memory_order_relaxed);
	conn->started_ns = fp_clock_ns();
	conn->event.started_ns = wall_clock_ns();
	conn->event.netns_cookie = sandbox->cookie;
	conn->event.client = *peer;
	conn->event.client_port_be = peer_port_be;

	int rc = identify(w, conn);
	if (rc)
		fp_conn_close(w, conn, rc == -ENOENT ? FP_CLOSE_NO_RECORD : FP_CLOSE_NO_MEMORY);
	else if (fp_worker_watch(w, fd, conn, FP_TAG_CLIENT, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET))
		fp_conn_close(w, conn, FP_CLOSE_NO_MEMORY);
	else
		dial_or_close(w, conn, FP_CLOSE_CONNECT_FAILED);
}

/* Run one direction; false if that closed the connection. */
static bool run(struct fp_worker *w, struct fp_conn *conn, enum fp_side_index from)
{
	int rc = fp_relay(w, conn, from);
	if (rc >= 0) {
		fp_conn_close(w, conn, (enum fp_reason)rc);
		return false;
	}
	if (rc == FP_RELAY_HAS_MORE && conn->again.next == &conn->again)
		fp_list_append(&w->again, &conn->again);
	return true;
}

static void connected(struct fp_worker *w, struct fp_conn *conn)
{
	fp_list_remove(&conn->due);
	conn->state = FP_RELAYING;
	report_later(w, conn, fp_clock_ns());
	conn->side[FP_CLIENT].writable = conn->side[FP_SERVER].writable = true;
	if (run(w, conn, FP_CLIENT))
		run(w, conn, FP_SERVER);
}

static void connect_ended(struct fp_worker *w, struct fp_conn *conn, uint32_t events)
{
	int error = 0;
	socklen_t length = sizeof(error);
	if (!(events & (EPOLLERR | EPOLLHUP))) {
		if (events & EPOLLOUT)
			connected(w, conn);
		return;
	}
	getsockopt(conn->side[FP_SERVER].fd, SOL_SOCKET, SO_ERROR, &error, &length);
	fp_dial_abandon(w, conn);
	dial_or_close(w, conn, fp_dial_reason(error));
}

void fp_conn_timed_out(struct fp_worker *w, struct fp_conn *conn)
{
	fp_dial_abandon(w, conn);
	dial_or_close(w, conn, FP_CLOSE_CONNECT_TIMEOUT);
}

void fp_conn_resume(struct fp_worker *w, struct fp_conn *conn)
{
	if (conn->state == FP_RELAYING && run(w, conn, FP_CLIENT))
		run(w, conn, FP_SERVER);
}

void fp_conn_ready(struct fp_worker *w, struct fp_conn *conn, enum fp_side_index index, uint32_t events)
{
	struct fp_side *side = &conn->side[index];
	if (conn->state == FP_CLOSED || side->fd < 0)
		return; /* closed earlier in this batch */
	if (events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP))
		side->hangup = true;
	side->failed |= (events & EPOLLERR) != 0;
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP))
		side->readable = true;

	if (conn->state == FP_CONNECTING) {
		if (index == FP_SERVER)
			connect_ended(w, conn, events);
		else if (side->failed)
			fp_conn_close(w, conn, FP_CLOSE_CLIENT_RESET);
		return;
	}
	if (side->readable && !run(w, conn, index))
		return;
	if ((events & EPOLLOUT) && !side->writable) {
		side->writable = true;
		if (!run(w, conn, !index))
			return;
	}
	/* The socket holds an error that no read has met: it died while its own bytes wait, or after its FIN. The peer
	 * that would wait for it for ever is told now. */
	if (side->failed)
		fp_conn_close(w, conn, index == FP_CLIENT ? FP_CLOSE_CLIENT_RESET : FP_CLOSE_SERVER_RESET);
}
