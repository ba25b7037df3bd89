/* One relayed connection between a client and a server that write, read, finish and die as a stream of bytes says. The
 * engine's own state machine runs on real sockets and a real epoll, on this thread, with one worker made by hand.
 * What must hold: bytes come out in order, none twice, none invented; and when both ends read all there is, everything
 * that was written has come through: a wake-up that got lost would leave something behind. */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../agent/relay/worker.h"
#include "fuzz.h"

struct peer {
	int fd;                   /* -1: closed */
	bool finished;            /* sent FIN */
	bool heard_fin;
	uint64_t written, read;   /* bytes so far */
};

enum { STEPS = 200, ROUNDS = 100000, EVENTS = 8, SOCKET_BYTES = 4608, MOST_BYTES = 32768 };

ssize_t __real_recv(int fd, void *data, size_t size, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t size, int flags);

/* Unix sockets do not know how to discard (MSG_TRUNC of TCP), so it is done for them. */
ssize_t __wrap_recv(int fd, void *data, size_t size, int flags)
{
	static char discarded[MOST_BYTES];

	if (!(flags & MSG_TRUNC))
		return __real_recv(fd, data, size, flags);
	MUST(!data && size <= sizeof(discarded));
	return __real_recv(fd, discarded, size, flags & ~MSG_TRUNC);
}

static struct fp_shared shared;
static struct fp_worker *w;
static struct peer peers[2];
static struct fp_conn *conn;
static bool ended;

/* Byte number n of what side i says. */
static char saying(int i, uint64_t n)
{
	return (char)(n * 7 + n / 251 + (uint64_t)i * 101);
}

static void make_worker(void)
{
	static struct fp_worker worker;

	w = &worker;
	w->shared = &shared;
	shared.config.connect_timeout_ms = 1000;
	shared.config.workers = 1;
	shared.config.each_event = 1;
	shared.config.flows_fd = -1;
	w->visit.home_fd = -1;
	w->visit.here_fd = FP_AT_HOME;
	MUST(fp_bell_open(&shared.bell) == 0 && fp_ring_init(&w->ring) == 0);
	MUST((w->epoll_fd = epoll_create1(EPOLL_CLOEXEC)) >= 0);
	fp_list_init(&w->conns);
	fp_list_init(&w->dead);
	fp_list_init(&w->again);
	fp_list_init(&w->dialling);
	fp_list_init(&w->living);
	fp_list_init(&w->backlogs);
}

static int make_pair(struct peer *peer)
{
	int fds[2], bytes = SOCKET_BYTES;

	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	/* What the engine may send is little, so that it has to keep the rest of what peers pour in. */
	MUST(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) == 0);
	*peer = (struct peer){ .fd = fds[0] };
	return fds[1];
}

/* As conn.c and dial.c leave a connection whose server is being dialled. */
static void make_conn(struct fp_sandbox *sandbox, struct fp_target *target)
{
	MUST((conn = fp_slab_take(&w->slab)));
	memset(conn, 0, sizeof(*conn));
	conn->side[FP_CLIENT].fd = make_pair(&peers[FP_CLIENT]);
	conn->side[FP_SERVER].fd = make_pair(&peers[FP_SERVER]);
	conn->state = FP_CONNECTING;
	conn->sandbox = sandbox;
	fp_list_init(&conn->again);
	fp_list_init(&conn->all);
	fp_list_init(&conn->due);
	fp_list_append(&w->conns, &conn->all);
	fp_list_append(&w->dialling, &conn->due);
	conn->tried[conn->tried_count++] = target;
	atomic_store(&target->live, 1);
	atomic_store(&w->stats.active, 1);
	for (int i = 0; i < 2; i++)
		MUST(fp_worker_watch(w, conn->side[i].fd, conn, (enum fp_tag)i,
				     EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET) == 0);
}

/* One batch as the worker's loop does it. False if there was nothing to do. */
static bool turn(void)
{
	struct epoll_event events[EVENTS];
	struct fp_node round;
	int n = epoll_wait(w->epoll_fd, events, EVENTS, 0);
	bool again = !fp_list_empty(&w->again);

	MUST(n >= 0);
	for (int i = 0; i < n; i++)
		fp_conn_ready(w, conn, (enum fp_side_index)(events[i].data.u64 & FP_TAG_MASK), events[i].events);
	fp_list_init(&round);
	fp_list_take(&round, &w->again);
	if (!fp_list_empty(&round)) {
		fp_list_remove(&conn->again);
		fp_conn_resume(w, conn);
	}
	ended |= conn->state == FP_CLOSED;
	return n > 0 || again;
}

static void write_some(int i, size_t most)
{
	char data[8192];
	struct peer *peer = &peers[i];

	if (peer->fd < 0 || peer->finished)
		return;
	for (size_t n = 0; n < most; n++)
		data[n] = saying(i, peer->written + n);
	ssize_t sent = send(peer->fd, data, most, MSG_NOSIGNAL);
	if (sent > 0)
		peer->written += (uint64_t)sent;
}

/* True if that moved anything. */
static bool read_some(int i, size_t most)
{
	char data[8192];
	struct peer *peer = &peers[i];

	if (peer->fd < 0 || peer->heard_fin)
		return false;
	ssize_t got = recv(peer->fd, data, most, 0);
	if (got < 0)
		return false;
	peer->heard_fin = got == 0;
	for (ssize_t n = 0; n < got; n++)
		MUST(data[n] == saying(!i, peer->read++));
	MUST(peer->read <= peers[!i].written);
	return true;
}

static void finish(int i)
{
	if (peers[i].fd < 0)
		return;
	shutdown(peers[i].fd, SHUT_WR);
	peers[i].finished = true;
}

static void hang_up(int i)
{
	if (peers[i].fd >= 0)
		close(peers[i].fd);
	peers[i].fd = -1;
}

/* Tiny buffers make many system calls of a few bytes, so then there are only a few. */
static void step(struct input *in)
{
	uint8_t byte = next_byte(in), much = byte >> 4;
	int side = byte & 1;
	size_t amount = much * (w->pool.size < 512 ? 16u : 512u) + 1;

	switch ((byte >> 1) & 7) {
	case 0:
	case 1:
		write_some(side, amount);
		break;
	case 2:
		read_some(side, amount);
		break;
	case 3:
		if (much > 7)
			finish(side);
		break;
	case 4:
		if (much > 13)
			hang_up(side);
		break;
	case 5:
		if (conn->state == FP_RELAYING)
			fp_conn_report(w, conn, fp_clock_ns());
		break;
	default:
		turn();
	}
}

/* Both ends read until nothing moves any more. */
static void settle(void)
{
	int rounds = 0;
	bool moved = true;

	while (moved) {
		MUST(rounds++ < ROUNDS); /* else it spins */
		moved = turn();
		moved |= read_some(FP_CLIENT, 8192);
		moved |= read_some(FP_SERVER, 8192);
	}
}

static void check_end(bool alive)
{
	settle();
	if (!alive) {
		/* close() says FIN, so a silent other end may wait until it has something to say. */
		finish(FP_CLIENT);
		finish(FP_SERVER);
		settle();
		MUST(ended);
		return;
	}
	for (int i = 0; i < 2; i++)
		MUST(peers[!i].read == peers[i].written && peers[!i].heard_fin == peers[i].finished);
	MUST(ended == (peers[0].finished && peers[1].finished));
	finish(FP_CLIENT);
	finish(FP_SERVER);
	settle();
	MUST(ended && conn->event.reason == FP_CLOSE_OK);
	MUST(conn->event.earlier_to_server == peers[FP_CLIENT].written);
	MUST(conn->event.earlier_to_client == peers[FP_SERVER].written);
}

/* However often it was reported: it opened once, ended once, and each byte was told once. */
static void check_events(void)
{
	static struct fp_event events[STEPS + 1];
	uint32_t count = fp_ring_drain(&w->ring, events, STEPS + 1), opened = 0, ended_ones = 0;
	uint64_t to_server = 0, to_client = 0;

	for (uint32_t n = 0; n < count; n++) {
		opened += events[n].opened;
		ended_ones += events[n].connections;
		MUST(events[n].earlier_to_server == to_server && events[n].earlier_to_client == to_client);
		to_server += events[n].bytes_to_server;
		to_client += events[n].bytes_to_client;
		MUST(events[n].connections == (n + 1 == count));
	}
	MUST(opened == 1 && ended_ones == 1);
	MUST(to_server == conn->stream[FP_CLIENT].bytes && to_client == conn->stream[FP_SERVER].bytes);
}

/* Input: how large buffers are, how many there are (0: other connections hold them all), steps. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* The largest is more than a socket takes at once, so writes are cut short. */
	static const uint32_t sizes[] = { 1, 64, 4096, MOST_BYTES };
	struct input in = { data, size };
	struct fp_sandbox sandbox = { .cookie = 1 };
	struct fp_target target = { .images = 1 };

	if (!w)
		make_worker();
	uint32_t bytes = sizes[next_byte(&in) & 3];
	fp_pool_init(&w->pool, bytes, next_byte(&in) & 3);
	MUST((w->scratch = malloc(sizeof(*w->scratch) + bytes)));
	ended = false;
	make_conn(&sandbox, &target);
	for (int n = 0; n < STEPS && in.left; n++)
		step(&in);
	check_end(peers[0].fd >= 0 && peers[1].fd >= 0);

	MUST(fp_list_empty(&w->conns) && fp_list_empty(&w->again) && fp_list_empty(&w->dialling));
	MUST(fp_list_empty(&w->living));
	MUST(atomic_load(&target.live) == 0 && atomic_load(&w->stats.active) == 0);
	check_events();
	fp_list_remove(&conn->all);
	fp_slab_give(&w->slab, conn);
	MUST(w->pool.made == w->pool.free_count); /* every buffer came back */
	fp_pool_clear(&w->pool);
	free(w->scratch);
	hang_up(FP_CLIENT);
	hang_up(FP_SERVER);
	return 0;
}
