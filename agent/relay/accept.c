/* New connections: who takes them, and what happens when there is no room. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "addr.h"
#include "worker.h"

enum {
	FP_ACCEPT_BATCH = 32,
	FP_SHARE = 2,
	FP_IMBALANCE = 4,                      /* connections more than the idlest worker has that are nobody's business */
	FP_ACCEPT_PAUSE_NS = 100 * 1000 * 1000
};

static void refuse(struct fp_worker *w, int fd)
{
	struct linger at_once = { .l_onoff = 1, .l_linger = 0 };
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)); /* close() sends RST */
	close(fd);
	fp_count(&w->stats.accepted, 1);
	fp_count(&w->stats.closed[FP_CLOSE_NO_MEMORY], 1);
}

/* Descriptors have run out. Left in the queue, clients would wait for nothing; with the spare one they are told. */
static bool shed_one(struct fp_worker *w, struct fp_watch *watch)
{
	if (w->spare_fd >= 0)
		close(w->spare_fd);
	int fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		refuse(w, fd);
	w->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC); /* may fail now; the next shortage tries again */
	return fd >= 0;
}

/* The worker for a new connection. The kernel wakes the first idle worker in the order of registration (EPOLLEXCLUSIVE),
 * so at low rates one worker would collect nearly all long-lived connections. */
static struct fp_worker *place(struct fp_worker *w, uint32_t *ret_total)
{
	struct fp_worker *idlest = w;
	uint32_t own = atomic_load_explicit(&w->stats.active, memory_order_relaxed), least = own;
	*ret_total = 0;
	for (uint32_t i = 0; i < w->shared->config.workers; i++) {
		struct fp_worker *other = w->shared->workers[i];
		uint32_t active = atomic_load_explicit(&other->stats.active, memory_order_relaxed);
		*ret_total += active;
		if (active < least) {
			least = active;
			idlest = other;
		}
	}
	return own > least + FP_IMBALANCE + least / 8 ? idlest : w;
}

/* A pod may hold at most twice as many connections as are still free, so one that opens without end gets two thirds of
 * all, two of them four fifths, and whoever comes later finds room (dynamic thresholds: Choudhury and Hahne, 1998). */
static bool has_room(const struct fp_worker *w, const struct fp_sandbox *sandbox, uint32_t total)
{
	uint32_t most = w->shared->config.max_connections;
	return total < most && atomic_load_explicit(&sandbox->active, memory_order_relaxed) < FP_SHARE * (most - total);
}

static void admit(struct fp_worker *w, struct fp_watch *watch, int fd, const union fp_sockaddr *name)
{
	uint32_t total;
	struct fp_worker *chosen = place(w, &total);
	struct fp_message message = { .kind = FP_MSG_ADOPT, .fd = fd, .sandbox = watch->sandbox };
	message.peer_port_be = fp_sockaddr_read(name, &message.peer);
	if (!has_room(w, watch->sandbox, total))
		refuse(w, fd);
	else if (chosen == w || !fp_inbox_post(&chosen->inbox, &message))
		fp_conn_open(w, watch->sandbox, fd, &message.peer, message.peer_port_be);
}

void fp_accept(struct fp_worker *w, struct fp_watch *watch)
{
	union fp_sockaddr name;
	fp_list_remove(&watch->more);
	for (int i = 0; i < FP_ACCEPT_BATCH; i++) {
		socklen_t length = sizeof(name);
		int fd = accept4(watch->fd, &name.sa, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			admit(w, watch, fd, &name);
			continue;
		}
		int error = errno;
		if (error == EAGAIN)
			return;
		if ((error == EMFILE || error == ENFILE) && shed_one(w, watch))
			continue;
		if (error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS) {
			w->accept_after_ns = fp_clock_ns() + FP_ACCEPT_PAUSE_NS;
			break;
		}
		/* Anything else is an error of that one connection (accept(2)): on to the next. */
	}
	/* Edge-triggered: epoll will not mention again what is still queued. */
	fp_list_append(&w->backlogs, &watch->more);
}
