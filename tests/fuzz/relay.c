/* One relayed connection between a client and a server that write, read, finish and die as a stream of bytes says. The
 * relay's own state machine runs on real sockets and a real epoll, on this thread and without a worker: either between
 * two sockets, or through a tunnel, whose records hide and garble what is in them (tests/relay/unit/framed.h). Between two sockets
 * it may go to another worker at any time, and back.
 * What must hold: bytes come out in order, none twice, none invented; and when both ends read all there is, everything
 * that was written has come through: a wake-up that got lost would leave something behind. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../agent/relay/image.h"
#include "../../agent/relay/moving.h"
#include "../../agent/relay/sandbox.h"
#include "../relay/unit/framed.h"
#include "fuzz.h"

struct peer {
	int fd;        /* -1: closed */
	bool finished; /* sent FIN */
	bool heard_fin;
	uint64_t written, read; /* bytes so far */
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

static struct fp_loop loop, next_loop;
static struct fp_plains plains;
static struct fp_pipes pipes, next_pipes;
static struct fp_upstreams upstreams;
static struct fp_reporter reporter;
static struct fp_ring ring;
static struct fp_bell bell;
static struct fp_conns conns, next_conns; /* of two workers */
static struct fp_worker_stats stats;
static struct fp_hold hold;
static _Atomic(struct fp_image *) image;
static struct peer peers[2];
static struct fp_conn *conn;
static enum { DIRECT, TUNNEL, BLIND_TUNNEL } way;
static struct fp_pipe far; /* the other end of the tunnel */
static struct fp_pipes far_pipes;
static fp_counter far_bytes[2];

/* Byte number n of what side i says. */
static char saying(int i, uint64_t n)
{
	return (char)(n * 7 + n / 251 + (uint64_t)i * 101);
}

static bool ended(void)
{
	return fp_active(&stats) == 0;
}

static int make_pair(int *ret_fd)
{
	int fds[2], bytes = SOCKET_BYTES;

	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	/* What the relay may send is little, so that it has to keep the rest of what peers pour in. */
	MUST(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)) == 0);
	*ret_fd = fds[0];
	return fds[1];
}

static struct fp_stream *make_stream(struct peer *peer, bool connected)
{
	struct fp_stream *stream;

	*peer = (struct peer){ 0 };
	MUST(fp_plain_open(&plains, make_pair(&peer->fd), connected, &stream) == 0);
	return stream;
}

static void far_ended(struct fp_pipe *pipe, enum fp_pipe_end how)
{
	enum fp_stream_end end = how == FP_PIPE_FINISHED ? FP_STREAM_ORDERLY : FP_STREAM_RESET;

	for (int i = 0; i < 2; i++) {
		pipe->end[i]->ops->close(pipe->end[i], end);
		pipe->end[i] = NULL;
	}
}

/* The server is there at once, behind a tunnel or not. */
static int dial(struct fp_dialer *dialer, const struct fp_origin *from, const struct tg_addr *addr, uint16_t port_be,
		struct fp_stream **ret_stream)
{
	int other;

	MUST(dialer && from->netns_fd == -1 && addr && port_be == 2);
	if (way == DIRECT) {
		*ret_stream = make_stream(&peers[FP_SERVER], false);
		return 0;
	}
	/* The ends of a tunnel may share buffers if their streams can look ahead, or each could wait for the other's. */
	*ret_stream = framed_open(&loop, make_pair(&other), false, way == BLIND_TUNNEL);
	fp_pipe_start(&far, way == BLIND_TUNNEL ? &far_pipes : &pipes, NULL,
		      framed_open(&loop, other, true, way == BLIND_TUNNEL), make_stream(&peers[FP_SERVER], true), NULL,
		      far_ended);
	return 0;
}

static void make_conns(struct fp_conns *made, struct fp_loop *on, struct fp_pipes *with, uint32_t worker)
{
	MUST(fp_loop_open(on) == 0);
	fp_conns_init(made, on);
	made->pipes = with;
	made->upstreams = &upstreams;
	made->reporter = &reporter;
	made->stats = &stats;
	made->worker = worker;
}

static void make_relay(void)
{
	static struct fp_dialer dialer = { dial };
	static const struct tg_addr addr = { { 1 } };
	static struct fp_registry registry;
	struct fp_image *made;

	make_conns(&conns, &loop, &pipes, 0);
	make_conns(&next_conns, &next_loop, &next_pipes, 1);
	MUST(fp_bell_open(&bell) == 0 && fp_ring_init(&ring) == 0);
	fp_plains_init(&plains, &loop);
	hold.current = &image;
	fp_upstreams_init(&upstreams, &loop, &dialer, &hold, 3600u * (uint64_t)1000000000);
	fp_reporter_init(&reporter, &loop, &ring, &bell);
	reporter.each = true;
	reporter.period_ns = 3600u * (uint64_t)1000000000;
	MUST(fp_image_new(1, &made) == 0 && fp_image_service(made, 1, FP_LB_RANDOM) == 0);
	MUST(fp_image_address(made, &addr, 1) == 0 && fp_image_endpoint(made, &addr, 2, 1) == 0);
	MUST(fp_image_seal(made) == 0 && fp_registry_bind(&registry, made->endpoints, made->endpoint_count) == 0);
	atomic_store(&image, made);
}

static void no_work(struct fp_task *task)
{
	(void)task;
}

static bool turn_of(struct fp_loop *one)
{
	struct fp_task nothing;
	struct pollfd events = { .fd = one->epoll_fd, .events = POLLIN };
	bool any = !fp_list_empty(&one->tasks) || !fp_list_empty(&one->lanes) || poll(&events, 1, 0) > 0;

	fp_task_init(&nothing, no_work);
	fp_loop_defer(one, &nothing); /* so that it does not wait */
	fp_loop_turn(one);
	fp_hold_release(&hold);
	return any;
}

/* False if there was nothing to do. */
static bool turn(void)
{
	bool any = turn_of(&loop);

	return turn_of(&next_loop) || any;
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
	size_t amount = much * (pipes.pool.size < 512 ? 16u : 512u) + 1;

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
		if (!ended() && conn->state == FP_RELAYING)
			conn->report.due(&conn->report, fp_clock_ns());
		break;
	case 6:
		if (!ended() && fp_conn_can_leave(conn)) {
			struct fp_conns *next = conn->conns == &conns ? &next_conns : &conns;

			fp_conn_leave(conn);
			fp_conn_join(conn, next);
			break;
		}
		turn();
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
		MUST(ended());
		return;
	}
	for (int i = 0; i < 2; i++)
		MUST(peers[!i].read == peers[i].written && peers[!i].heard_fin == peers[i].finished);
	MUST(ended() == (peers[0].finished && peers[1].finished));
	finish(FP_CLIENT);
	finish(FP_SERVER);
	settle();
	MUST(ended());
}

/* However often it was reported: it opened once, ended once, and each byte was told once. */
static void check_events(bool alive)
{
	static struct fp_event events[STEPS + 1];
	uint32_t count = fp_ring_drain(&ring, events, STEPS + 1), opened = 0, ended_ones = 0;
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
	MUST(to_server <= peers[FP_CLIENT].written && to_client <= peers[FP_SERVER].written);
	MUST(to_client >= peers[FP_CLIENT].read);
	if (alive) {
		MUST(events[count - 1].reason == FP_CLOSE_OK);
		MUST(to_server == peers[FP_CLIENT].written && to_client == peers[FP_SERVER].written);
	}
}

/* Input: how large buffers are and the way, how many buffers there are (0: other connections hold them all), steps. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* The largest is more than a socket takes at once, so writes are cut short. */
	static const uint32_t sizes[] = { 1, 64, 4096, MOST_BYTES };
	struct input in = { data, size };
	static struct fp_sandbox sandbox = { .cookie = 1,
					     .netns_fd = -1,
					     .presence = { { .party.buffers = 0 }, { .party.buffers = 0 } } };
	struct fp_flow flow = { .dst = { { 1 } }, .dst_port_be = 1 };
	struct fp_target *target;

	if (!conns.loop) {
		make_relay();
		for (int i = 0; i < 2; i++) {
			fp_party_init(&sandbox.presence[i].party);
			fp_list_init(&sandbox.presence[i].conns);
			sandbox.presence[i].open = true;
		}
	}
	uint8_t first = next_byte(&in), buffers = next_byte(&in) & 3;
	way = (first >> 6) % 3;
	if (way == BLIND_TUNNEL && !buffers)
		buffers = 1; /* without any it rightly waits for ever */
	MUST(fp_pipes_init(&pipes, &loop, sizes[first & 3], buffers, stats.bytes) == 0);
	MUST(fp_pipes_init(&next_pipes, &next_loop, sizes[first & 3], buffers, stats.bytes) == 0);
	MUST(fp_pipes_init(&far_pipes, &loop, sizes[first & 3], 2, far_bytes) == 0);
	target = atomic_load(&image)->endpoints[0].target;
	conn = fp_conn_open(&conns, &sandbox, make_stream(&peers[FP_CLIENT], true), &flow);
	MUST(conn && atomic_load(&target->live) == 1);
	for (int n = 0; n < STEPS && in.left; n++)
		step(&in);
	bool alive = peers[0].fd >= 0 && peers[1].fd >= 0;
	check_end(alive);
	check_events(alive);
	hang_up(FP_CLIENT);
	hang_up(FP_SERVER);
	settle();

	MUST(fp_list_empty(&conns.live) && fp_list_empty(&conns.dead) && fp_list_empty(&loop.tasks));
	MUST(fp_list_empty(&next_conns.live) && fp_list_empty(&next_conns.dead) && fp_list_empty(&next_loop.tasks));
	MUST(fp_list_empty(&conns.reports.queue) && fp_list_empty(&next_conns.reports.queue) &&
	     fp_list_empty(&upstreams.timeouts.queue));
	MUST(atomic_load(&target->live) == 0 && fp_active(&stats) == 0 && atomic_load(&sandbox.active) == 0);
	MUST(framed_alive == 0);
	/* Every buffer came back, and nobody has a turn to come. */
	MUST(fp_list_empty(&loop.lanes) && fp_list_empty(&next_loop.lanes) && !far_pipes.nobody.buffers);
	MUST(!sandbox.presence[0].party.buffers && !sandbox.presence[1].party.buffers);
	MUST(pipes.pool.made == pipes.pool.free_count && next_pipes.pool.made == next_pipes.pool.free_count &&
	     far_pipes.pool.made == far_pipes.pool.free_count);
	fp_pipes_clear(&pipes);
	fp_pipes_clear(&next_pipes);
	fp_pipes_clear(&far_pipes);
	return 0;
}
