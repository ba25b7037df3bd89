#include "placing.h"

#include "moving.h"
#include "sandbox.h"

enum {
	FP_SHARE = 2,
	FP_IMBALANCE = 4 /* connections more than the idlest worker has that are nobody's business */
};

void fp_serve(struct fp_worker *w, struct fp_sandbox *sandbox, int fd, const struct tg_addr *peer, uint16_t port_be)
{
	struct fp_flow flow;
	struct fp_stream *client;
	fp_plain_narrow(fd);
	int rc = fp_flow_identify(&w->conns.records, sandbox, fd, peer, port_be, &flow);
	if (fp_plain_open(&w->plains, fd, true, &client)) {
		fp_count(&w->stats.accepted, 1);
		fp_count(&w->stats.closed[FP_CLOSE_NO_MEMORY], 1);
	} else if (rc) {
		fp_conn_refuse(&w->conns, sandbox, client, &flow,
			       rc == -ENOENT ? FP_CLOSE_NO_RECORD : FP_CLOSE_NO_MEMORY);
	} else {
		fp_conn_open(&w->conns, sandbox, client, &flow);
	}
}

/* The worker for a new connection. The kernel wakes the first idle worker in the order of registration (EPOLLEXCLUSIVE),
 * so at low rates one worker would collect nearly all long-lived connections. */
static struct fp_worker *place(struct fp_worker *w)
{
	struct fp_worker *idlest = w;
	uint32_t own = fp_present(&w->stats), least = own;
	for (uint32_t i = 0; i < w->shared->config.workers; i++) {
		struct fp_worker *other = w->shared->workers[i];
		uint32_t present = fp_present(&other->stats);
		if (present < least) {
			least = present;
			idlest = other;
		}
	}
	return own > least + FP_IMBALANCE + least / 8 ? idlest : w;
}

/* A pod may hold at most twice as many connections as are still free, so one that opens without end gets two thirds of
 * all, two of them four fifths, and whoever comes later finds room (dynamic thresholds: Choudhury and Hahne, 1998). So with the
 * kernel's memory. */
static bool has_room(const struct fp_worker *w, const struct fp_sandbox *sandbox)
{
	uint32_t total = fp_active_of_all(w->shared), most = w->shared->config.max_connections;
	return total < most &&
	       atomic_load_explicit(&sandbox->active, memory_order_relaxed) < FP_SHARE * (most - total) &&
	       fp_kmem_has_room(&w->shared->kmem, &sandbox->kmem);
}

static void count_refused(struct fp_acceptor *acceptor)
{
	struct fp_worker *w = fp_container(acceptor, struct fp_worker, acceptor);
	fp_count(&w->stats.accepted, 1);
	fp_count(&w->stats.closed[FP_CLOSE_NO_MEMORY], 1);
}

static void admit(struct fp_acceptor *acceptor, struct fp_watch *watch, int fd, const union fp_sockaddr *name)
{
	struct fp_worker *w = fp_container(acceptor, struct fp_worker, acceptor);
	struct fp_worker *chosen = place(w);
	struct fp_message message = { .kind = FP_MSG_ADOPT, .fd = fd, .sandbox = watch->sandbox };
	message.peer_port_be = fp_sockaddr_read(name, &message.peer);
	if (!has_room(w, watch->sandbox)) {
		fp_plain_refuse(fd);
		count_refused(acceptor);
	} else if (chosen == w || !fp_inbox_post(&chosen->inbox, &message)) {
		fp_serve(w, watch->sandbox, fd, &message.peer, message.peer_port_be);
	}
}

/* The other role's worker with fewest connections. */
static struct fp_worker *opposite(const struct fp_worker *w)
{
	const struct fp_shared *shared = w->shared;
	uint32_t half = shared->config.workers, from = fp_is_carrier(w) ? 0 : half;
	/* Those of equal number stand for one processor: where nothing else decides, it is stayed with. */
	struct fp_worker *found = shared->workers[(w->index + half) % shared->count];
	uint32_t least = fp_present(&found->stats);
	for (uint32_t i = from; i < from + half; i++) {
		struct fp_worker *other = shared->workers[i];
		if (fp_present(&other->stats) < least) {
			found = other;
			least = fp_present(&other->stats);
		}
	}
	return found;
}

static void move(struct fp_worker *w, struct fp_conn *conn)
{
	if (!fp_conn_can_leave(conn))
		return;
	const struct fp_message message = { .kind = FP_MSG_JOIN, .conn = conn };
	struct fp_worker *other = opposite(w);
	fp_conn_leave(conn);
	if (!fp_inbox_post(&other->inbox, &message))
		fp_conn_join(conn, &w->conns); /* full */
}

static void busy(struct fp_pipe *pipe)
{
	struct fp_conn *conn = fp_container(pipe, struct fp_conn, pipe);
	move(fp_container(conn->conns, struct fp_worker, conns), conn);
}

static void calm(struct fp_conn *conn)
{
	move(fp_container(conn->conns, struct fp_worker, conns), conn);
}

void fp_place_from(struct fp_worker *w)
{
	w->acceptor.accepted = admit;
	w->acceptor.shed = count_refused;
	if (fp_is_carrier(w))
		w->conns.calm = calm;
	else
		w->pipes.busy = busy;
}
