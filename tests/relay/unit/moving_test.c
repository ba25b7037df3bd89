/* Connections that go from one worker to another, without workers: two of all that a worker has, turned by hand. */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../../agent/relay/image.h"
#include "../../../agent/relay/moving.h"
#include "../../../agent/relay/sandbox.h"
#include "../../../agent/relay/stream_plain.h"
#include "arrived.h"
#include "check.h"

enum { BUFFER = 65536, BULK = 65536, DESKS = 2, CHUNK = 128, HOUR_MS = 3600 * 1000 };
static const uint64_t SECOND = 1000000000;

static struct desk {
	struct fp_loop loop;
	struct fp_plains plains;
	struct fp_pipes pipes;
	struct fp_upstreams upstreams;
	struct fp_reporter reporter;
	struct fp_ring ring;
	struct fp_conns conns;
	struct fp_worker_stats stats;
} desks[DESKS];

static struct desk *const here = &desks[0], *const there = &desks[1];
static struct fp_bell bell;
static struct fp_hold hold;
static _Atomic(struct fp_image *) image;
static struct fp_registry registry;
static struct fp_sandbox sandbox = { .cookie = 77,
				     .netns_fd = -1,
				     .presence = { { .party.buffers = 0 }, { .party.buffers = 0 } } };
static const struct fp_flow flow = { .dst = { { 3 } }, .dst_port_be = 80 };
static int client, server; /* what is not the relay's of the last connection */
static int busy_ones, calm_ones;

static void nothing(struct fp_task *task)
{
	(void)task;
}

static bool has_work(struct desk *desk)
{
	struct pollfd events = { .fd = desk->loop.epoll_fd, .events = POLLIN };
	all_arrived();
	return !fp_list_empty(&desk->loop.tasks) || !fp_list_empty(&desk->loop.lanes) || poll(&events, 1, 0) > 0;
}

static void turn(struct desk *desk)
{
	struct fp_task task;
	fp_task_init(&task, nothing);
	fp_loop_defer(&desk->loop, &task);
	fp_loop_turn(&desk->loop);
	fp_hold_release(&hold);
}

static void settle(struct desk *desk)
{
	while (has_work(desk))
		turn(desk);
}

/* Joined over loopback; what the relay's end may hold is little. */
static int make_pair(int *ret_peer)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(name);
	int ours = prompt_socket(), listener = prompt_socket();
	CHECK(bind(listener, (void *)&name, size) == 0 && listen(listener, 1) == 0);
	CHECK(getsockname(listener, (void *)&name, &size) == 0 && connect(ours, (void *)&name, size) == 0);
	*ret_peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	CHECK(*ret_peer >= 0 && close(listener) == 0 && fcntl(ours, F_SETFL, O_NONBLOCK) == 0);
	return ours;
}

static int dial(struct fp_dialer *dialer, const struct fp_origin *from, const struct tg_addr *addr, uint16_t port_be,
		struct fp_stream **ret_stream)
{
	CHECK(dialer && from && addr && port_be == 9);
	return fp_plain_open(&here->plains, make_pair(&server), false, ret_stream);
}

static struct fp_conn *open_conn(void)
{
	struct fp_stream *stream;
	CHECK(fp_plain_open(&here->plains, make_pair(&client), true, &stream) == 0);
	struct fp_conn *conn = fp_conn_open(&here->conns, &sandbox, stream, &flow);
	CHECK(conn && conn->state == FP_CONNECTING && !fp_conn_can_leave(conn));
	settle(here);
	CHECK(conn->state == FP_RELAYING && fp_present(&here->stats) == 1);
	return conn;
}

static void carry(struct fp_conn *conn, struct desk *to)
{
	CHECK(fp_conn_can_leave(conn));
	fp_conn_leave(conn);
	fp_conn_join(conn, &to->conns);
}

static void say(int fd, const char *text)
{
	CHECK(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

static bool hears(int fd, const char *text)
{
	char got[16];
	return recv(fd, got, sizeof(got), 0) == (ssize_t)strlen(text) && !memcmp(got, text, strlen(text));
}

/* It has ended, was told of by this worker, and its memory went back to where it was opened. */
static void expect_end(struct desk *desk, enum fp_reason reason)
{
	struct fp_event events[4];
	const struct fp_slab_chunk *chunk = here->conns.slab.chunks;
	void *things[CHUNK];
	settle(desk);
	uint32_t count = fp_ring_drain(&desk->ring, events, 4);
	CHECK(count && events[count - 1].connections == 1);
	CHECK(events[count - 1].reason == (uint32_t)reason);
	CHECK(!fp_present(&here->stats) && !fp_present(&there->stats) && !atomic_load(&sandbox.active));
	CHECK(fp_active(&here->stats) + fp_active(&there->stats) == 0);
	for (int i = 0; i < DESKS; i++) {
		CHECK(fp_list_empty(&desks[i].conns.live) && fp_list_empty(&sandbox.presence[i].conns));
		CHECK(fp_list_empty(&desks[i].conns.reports.queue));
	}
	CHECK(!there->conns.slab.chunks && !there->plains.slab.chunks);
	for (int i = 0; i < CHUNK; i++)
		things[i] = fp_slab_take(&here->conns.slab);
	CHECK(here->conns.slab.chunks == chunk); /* all of it was there */
	for (int i = 0; i < CHUNK; i++)
		fp_slab_give(&here->conns.slab, things[i]);
	close(client);
	close(server);
}

static void bytes_go_on_where_they_were(void)
{
	struct fp_conn *conn = open_conn();
	say(client, "one");
	settle(here);
	CHECK(hears(server, "one"));
	say(client, "two"); /* seen by nobody yet */
	fp_conn_leave(conn);
	say(server, "three");
	CHECK(!has_work(here) && !fp_present(&here->stats));
	fp_conn_join(conn, &there->conns);
	CHECK(fp_present(&there->stats) == 1 && fp_active(&there->stats) == 0 && fp_active(&here->stats) == 1);
	settle(there);
	CHECK(hears(server, "two") && hears(client, "three"));
	CHECK(fp_counted(&here->stats.bytes[FP_CLIENT]) == 3 && fp_counted(&there->stats.bytes[FP_CLIENT]) == 3);
	carry(conn, here);
	settle(here);
	say(server, "four");
	CHECK(!has_work(there));
	settle(here);
	CHECK(hears(client, "four"));
	carry(conn, there);
	shutdown(client, SHUT_WR);
	shutdown(server, SHUT_WR);
	expect_end(there, FP_CLOSE_OK);
}

/* What is due stays due, and no sooner. */
static void timers_go_along(void)
{
	struct fp_conn *conn = open_conn();
	shutdown(client, SHUT_WR);
	settle(here);
	const uint64_t report = conn->report.due_ns, look = conn->look.due_ns, wishes = conn->wishes.due_ns;
	CHECK(report && look && wishes);
	carry(conn, there);
	settle(there);
	CHECK(fp_list_empty(&here->conns.reports.queue) && fp_list_empty(&here->conns.looks[0].queue));
	CHECK(there->conns.reports.queue.next == &conn->report.node && conn->report.due_ns == report);
	CHECK(there->conns.looks[0].queue.next == &conn->look.node && conn->look.due_ns == look);
	CHECK(there->conns.first_wishes.queue.next == &conn->wishes.node && conn->wishes.due_ns == wishes);
	fp_timer_stop(&conn->wishes);
	carry(conn, here);
	CHECK(fp_list_empty(&conn->wishes.node)); /* once is once */
	carry(conn, there);
	shutdown(server, SHUT_WR);
	expect_end(there, FP_CLOSE_OK);
}

/* The list that a timer stands in may belong to one of this worker's; else it is another's. */
static bool is_timed_by(const struct desk *desk, const struct fp_life *life)
{
	for (int i = 0; i < FP_LIFE_STEPS; i++)
		if (desk->conns.lives.used[i] && desk->conns.lives.steps[i].queue.next == &life->timer.node)
			return true;
	return false;
}

/* What a rule allows a connection is allowed once, not again by each worker. */
static void limits_go_along(void)
{
	struct fp_conn *conn = open_conn();
	CHECK(is_timed_by(here, &conn->life));
	const uint64_t moved = conn->life.moved_ns, began = conn->life.began_ns;
	carry(conn, there);
	CHECK(is_timed_by(there, &conn->life) && !is_timed_by(here, &conn->life));
	CHECK(conn->life.moved_ns == moved && conn->life.began_ns == began);
	conn->life.began_ns -= 2 * conn->life.most_ns;
	fp_conn_leave(conn);
	fp_conn_join(conn, &here->conns);
	CHECK(here->conns.lives.steps[0].queue.next == &conn->life.timer.node); /* over meanwhile: looked at soon */
	conn->life.timer.due(&conn->life.timer, fp_clock_ns());
	CHECK(conn->state == FP_CLOSED);
	expect_end(here, FP_CLOSE_MAX_DURATION);
}

static void a_pod_is_forgotten_where_its_connections_are(void)
{
	struct fp_conn *conn = open_conn();
	carry(conn, there);
	sandbox.presence[1].open = false;
	CHECK(!fp_conn_can_leave(conn)); /* or who forgets it might look for it in vain */
	sandbox.presence[1].open = true;
	CHECK(!fp_conns_evict(&sandbox.presence[0], 1) && conn->state == FP_RELAYING);
	CHECK(!fp_conns_evict(&sandbox.presence[1], 1) && conn->state == FP_CLOSED);
	expect_end(there, FP_CLOSE_SHUTDOWN);
}

static void who_finds_no_room_is_reset(void)
{
	struct fp_conn *conn = open_conn();
	const int epoll_fd = there->loop.epoll_fd;
	there->loop.epoll_fd = -1;
	carry(conn, there);
	CHECK(conn->state == FP_CLOSED);
	there->loop.epoll_fd = epoll_fd;
	expect_end(there, FP_CLOSE_NO_MEMORY);
}

/* Bytes that wait in memory of the worker keep the connection there. */
static void what_holds_bytes_stays(void)
{
	static const char data[65536];
	struct fp_conn *conn = open_conn();
	while (send(client, data, sizeof(data), MSG_NOSIGNAL) > 0)
		settle(here);
	CHECK(conn->pipe.way[FP_CLIENT].buf && !fp_conn_can_leave(conn));
	char drained[65536];
	while (settle(here), recv(server, drained, sizeof(drained), 0) > 0)
		;
	CHECK(fp_conn_can_leave(conn));
	shutdown(client, SHUT_WR);
	shutdown(server, SHUT_WR);
	expect_end(here, FP_CLOSE_OK);
}

static void count_busy(struct fp_pipe *pipe)
{
	CHECK(pipe->pipes == &here->pipes && !pipe->is_busy);
	busy_ones++;
}

static void count_calm(struct fp_conn *conn)
{
	CHECK(conn->conns == &here->conns);
	calm_ones++;
}

/* Who pours is told of, and who asks and waits is not, however much others of his pod have poured. */
static void who_is_busy_is_told_of(void)
{
	static char data[BULK];
	struct fp_conn *conn = open_conn();
	struct fp_party *party = &sandbox.presence[0].party;
	here->pipes.busy = count_busy;
	here->conns.calm = count_calm;
	for (int i = 0; i < 100; i++) {
		party->bulk = UINT32_MAX / 2;
		say(client, "?");
		settle(here);
		CHECK(hears(server, "?") && !conn->pipe.is_busy);
	}
	CHECK(!busy_ones);
	/* What counts lies within a second, which this machine may spend elsewhere: then again. */
	for (int i = 0; i < 100 && !busy_ones; i++) {
		party->since_ns = fp_clock_ns();
		party->bulk = here->pipes.bulk_most;
		CHECK(send(client, data, sizeof(data), MSG_NOSIGNAL) == (ssize_t)sizeof(data));
		while (settle(here), recv(server, data, sizeof(data), 0) > 0)
			;
	}
	CHECK(busy_ones);
	busy_ones = 0;
	party->since_ns -= 2 * SECOND; /* long ago: it counts anew */
	CHECK(send(client, data, sizeof(data), MSG_NOSIGNAL) == (ssize_t)sizeof(data));
	while (settle(here), recv(server, data, sizeof(data), 0) > 0)
		;
	CHECK(!busy_ones && party->bulk < here->pipes.bulk_most);
	const uint64_t now = fp_clock_ns();
	conn->told.bytes[FP_CLIENT] = conn->pipe.way[FP_CLIENT].bytes - FP_CALM_BYTES;
	conn->report.due(&conn->report, now);
	CHECK(!calm_ones);
	conn->report.due(&conn->report, now + SECOND);
	CHECK(calm_ones == 1);
	here->pipes.busy = NULL;
	here->conns.calm = NULL;
	shutdown(client, SHUT_WR);
	shutdown(server, SHUT_WR);
	expect_end(here, FP_CLOSE_OK);
}

static void make_desk(struct desk *desk, struct fp_dialer *dialer)
{
	CHECK(fp_loop_open(&desk->loop) == 0 && fp_ring_init(&desk->ring) == 0);
	CHECK(fp_pipes_init(&desk->pipes, &desk->loop, BUFFER, 4, desk->stats.bytes) == 0);
	fp_plains_init(&desk->plains, &desk->loop);
	fp_upstreams_init(&desk->upstreams, &desk->loop, dialer, &hold, 3600 * SECOND);
	fp_reporter_init(&desk->reporter, &desk->loop, &desk->ring, &bell);
	desk->reporter.each = true;
	desk->reporter.period_ns = 3600 * SECOND;
	fp_conns_init(&desk->conns, &desk->loop);
	desk->conns.pipes = &desk->pipes;
	desk->conns.upstreams = &desk->upstreams;
	desk->conns.reporter = &desk->reporter;
	desk->conns.stats = &desk->stats;
	desk->conns.worker = (uint32_t)(desk - desks);
	fp_presence_init(&sandbox.presence[desk - desks]);
	sandbox.presence[desk - desks].open = true;
}

static void clear_desk(struct desk *desk)
{
	CHECK(desk->pipes.pool.made == desk->pipes.pool.free_count);
	fp_conns_clear(&desk->conns);
	fp_pipes_clear(&desk->pipes);
	fp_plains_clear(&desk->plains);
	fp_ring_free(&desk->ring);
	fp_loop_close(&desk->loop);
}

static void publish(void)
{
	struct fp_image *made;
	CHECK(fp_image_new(1, &made) == 0 && fp_image_service(made, 42, FP_LB_ROUND_ROBIN) == 0);
	CHECK(fp_image_address(made, &flow.dst, flow.dst_port_be) == 0);
	CHECK(fp_image_endpoint(made, &(struct tg_addr){ { 10 } }, 9, 1) == 0);
	CHECK(fp_image_settings(made, &(struct fp_settings){ .idle_ms = HOUR_MS, .duration_ms = HOUR_MS }) == 0);
	CHECK(fp_image_seal(made) == 0 && fp_registry_bind(&registry, made->endpoints, made->endpoint_count) == 0);
	atomic_store(&image, made);
}

int main(void)
{
	static struct fp_dialer dialer = { dial };
	CHECK(fp_bell_open(&bell) == 0);
	hold.current = &image;
	publish();
	for (int i = 0; i < DESKS; i++)
		make_desk(&desks[i], &dialer);
	bytes_go_on_where_they_were();
	timers_go_along();
	limits_go_along();
	a_pod_is_forgotten_where_its_connections_are();
	who_finds_no_room_is_reset();
	what_holds_bytes_stays();
	who_is_busy_is_told_of();
	for (int i = 0; i < DESKS; i++)
		clear_desk(&desks[i]);
	struct fp_image *last = atomic_load(&image);
	CHECK(atomic_load(&last->endpoints[0].target->live) == 0);
	fp_registry_unbind(last->endpoints, last->endpoint_count);
	fp_registry_sweep(&registry);
	fp_image_free(last);
	fp_bell_close(&bell);
	return 0;
}
