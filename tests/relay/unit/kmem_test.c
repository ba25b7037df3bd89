/* Kernel memory as a sum: what sockets hold, what a pod's share is, and which connection has to go. */
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "../../../agent/relay/conn.h"
#include "../../../agent/relay/defaults.h"
#include "../../../agent/relay/image.h"
#include "../../../agent/relay/sandbox.h"
#include "../../../agent/relay/stream_plain.h"
#include "arrived.h"
#include "check.h"

enum { MIB = 1 << 20, HELD = 40000 };

static struct fp_loop loop;
static struct fp_plains plains;
static struct fp_pipes pipes;
static struct fp_upstreams upstreams;
static struct fp_reporter reporter;
static struct fp_ring ring;
static struct fp_bell bell;
static struct fp_conns conns;
static struct fp_worker_stats stats;
static struct fp_hold hold;
static _Atomic(struct fp_image *) image;
static struct fp_registry registry;
static struct fp_kmem kmem = { .most = 3 * MIB };
static struct fp_sandbox sandbox = { .cookie = 77, .netns_fd = -1, .presence = { { .party.buffers = 0 } } };
static const struct fp_flow flow = { .dst = { { 3 } }, .dst_port_be = 80 };
static int client, server;

static void nothing(struct fp_task *task)
{
	(void)task;
}

static void settle(void)
{
	struct pollfd events = { .fd = loop.epoll_fd, .events = POLLIN };
	struct fp_task task;
	do {
		fp_task_init(&task, nothing);
		fp_loop_defer(&loop, &task);
		fp_loop_turn(&loop);
		fp_hold_release(&hold);
		all_arrived();
	} while (!fp_list_empty(&loop.tasks) || !fp_list_empty(&loop.lanes) || poll(&events, 1, 0) > 0);
}

/* The end that is the relay's, with as little room as it has at first. */
static int tcp_pair(int *ret_peer)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(name);
	int listener = prompt_socket(), one = prompt_socket();
	CHECK(bind(listener, (void *)&name, size) == 0 && listen(listener, 1) == 0);
	CHECK(getsockname(listener, (void *)&name, &size) == 0 && connect(one, (void *)&name, size) == 0);
	*ret_peer = one;
	int other = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	CHECK(other >= 0 && close(listener) == 0 && fp_plain_keep_little(other) == 0);
	fp_plain_narrow(other);
	return other;
}

/* So many bytes wait in the socket of which this is the peer. */
static void leave(int peer, size_t bytes)
{
	static const char data[HELD];
	CHECK(bytes <= sizeof(data) && send(peer, data, bytes, 0) == (ssize_t)bytes);
	all_arrived();
}

static void what_waits_in_a_socket_is_seen(void)
{
	struct fp_stream *stream, pipe_end = { .ops = &(const struct fp_stream_ops){ .recv = NULL } };
	int peer;
	CHECK(fp_plain_open(&plains, tcp_pair(&peer), true, &stream) == 0);
	CHECK(fp_kmem_of(stream) == 0 && fp_kmem_of(NULL) == 0 && fp_kmem_of(&pipe_end) == 0);
	leave(peer, HELD);
	uint32_t held = fp_kmem_of(stream);
	CHECK(held >= HELD && held < 8 * HELD);
	stream->ops->close(stream, FP_STREAM_RESET);
	close(peer);
}

static void a_share_is_twice_what_is_free(void)
{
	struct fp_kmem all = { .most = 300 * (uint64_t)MIB };
	_Atomic uint64_t greedy = 0, other = 0;
	uint32_t held = 0, others = 0;
	CHECK(fp_kmem_has_room(&all, &greedy));
	fp_kmem_set(&all, &greedy, &held, 199 * MIB);
	CHECK(fp_kmem_has_room(&all, &greedy) && fp_kmem_has_room(&all, &other));
	fp_kmem_set(&all, &greedy, &held, 200 * MIB);
	CHECK(!fp_kmem_has_room(&all, &greedy) && fp_kmem_has_room(&all, &other));
	fp_kmem_set(&all, &other, &others, 100 * MIB); /* all there is, and more than either may have */
	CHECK(!fp_kmem_has_room(&all, &greedy) && !fp_kmem_has_room(&all, &other));
	fp_kmem_set(&all, &other, &others, MIB);
	CHECK(fp_kmem_has_room(&all, &other)); /* a little is always there */
	fp_kmem_set(&all, &greedy, &held, 0);
	fp_kmem_set(&all, &other, &others, 0);
	CHECK(!held && !greedy && !other && !all.bytes);
	CHECK(fp_kmem_has_room(NULL, &greedy));
}

static int dial(struct fp_dialer *dialer, const struct fp_origin *from, const struct tg_addr *addr, uint16_t port_be,
		struct fp_stream **ret_stream)
{
	CHECK(dialer && from && addr && port_be);
	return fp_plain_open(&plains, tcp_pair(&server), false, ret_stream);
}

static void publish(void)
{
	struct fp_image *made;
	CHECK(fp_image_new(1, &made) == 0 && fp_image_service(made, 42, FP_LB_ROUND_ROBIN) == 0);
	CHECK(fp_image_address(made, &flow.dst, flow.dst_port_be) == 0);
	CHECK(fp_image_endpoint(made, &(struct tg_addr){ { 10 } }, 9, 1) == 0);
	CHECK(fp_image_seal(made) == 0 && fp_registry_bind(&registry, made->endpoints, made->endpoint_count) == 0);
	atomic_store(&image, made);
}

static struct fp_conn *open_conn(void)
{
	struct fp_stream *stream;
	CHECK(fp_plain_open(&plains, tcp_pair(&client), true, &stream) == 0);
	struct fp_conn *conn = fp_conn_open(&conns, &sandbox, stream, &flow);
	CHECK(conn && conn->state == FP_CONNECTING);
	return conn;
}

static void due(struct fp_timer *timer)
{
	fp_timer_stop(timer);
	timer->due(timer, fp_clock_ns()); /* as the loop would */
}

static void a_connection_is_looked_at_from_its_first_second_on(void)
{
	struct fp_conn *conn = open_conn();
	leave(client, HELD); /* the server has not answered: it waits in the relay's socket */
	CHECK(!fp_list_empty(&conn->wishes.node));
	due(&conn->wishes);
	CHECK(conn->state == FP_CONNECTING && conn->held >= HELD && sandbox.kmem == conn->held);
	CHECK(kmem.bytes == conn->held && !fp_list_empty(&conn->wishes.node)); /* and again */
	fp_conn_close(conn, FP_CLOSE_SHUTDOWN);
	CHECK(sandbox.kmem == 0 && kmem.bytes == 0);
	close(client);
	close(server);
	settle();
}

/* A connection behind a server that does not read, and what others of its pod hold. */
static void who_is_stuck_and_holds_most_has_to_go(void)
{
	struct fp_conn *conn = open_conn();
	char block[16384] = { 0 };
	uint32_t others = 0;
	settle();
	while (send(client, block, sizeof(block), MSG_DONTWAIT) > 0)
		settle();
	CHECK(conn->state == FP_RELAYING);
	fp_kmem_set(&kmem, &sandbox.kmem, &others, 2 * MIB);
	sandbox.active = 100;
	due(&conn->report); /* it has moved since it was told of */
	CHECK(conn->state == FP_RELAYING && conn->held > HELD && conn->held < MIB);
	CHECK(sandbox.kmem == kmem.bytes && kmem.bytes == conn->held + 2 * MIB);
	kmem.most = 64 * MIB;
	due(&conn->report); /* its pod may have that */
	CHECK(conn->state == FP_RELAYING);
	kmem.most = 3 * MIB;
	sandbox.active = 2;
	due(&conn->report); /* the other one holds more */
	CHECK(conn->state == FP_RELAYING);
	sandbox.active = 100;
	due(&conn->report); /* one of a hundred that hold less */
	CHECK(conn->state == FP_CLOSED && stats.closed[FP_CLOSE_NO_MEMORY] == 1);
	CHECK(sandbox.kmem == 2 * MIB && kmem.bytes == 2 * MIB);
	fp_kmem_set(&kmem, &sandbox.kmem, &others, 0);
	close(client);
	close(server);
	settle();
}

int main(void)
{
	static struct fp_dialer dialer = { dial };
	struct fp_config config = { 0 };
	CHECK(fp_loop_open(&loop) == 0 && fp_bell_open(&bell) == 0 && fp_ring_init(&ring) == 0);
	CHECK(fp_pipes_init(&pipes, &loop, 4096, 4, stats.bytes) == 0);
	fp_plains_init(&plains, &loop);
	hold.current = &image;
	fp_upstreams_init(&upstreams, &loop, &dialer, &hold, 3600u * (uint64_t)1000000000);
	fp_reporter_init(&reporter, &loop, &ring, &bell);
	reporter.period_ns = 3600u * (uint64_t)1000000000;
	fp_conns_init(&conns, &loop);
	fp_presence_init(&sandbox.presence[0]);
	conns.pipes = &pipes;
	conns.upstreams = &upstreams;
	conns.reporter = &reporter;
	conns.stats = &stats;
	conns.kmem = &kmem;
	publish();

	what_waits_in_a_socket_is_seen();
	a_share_is_twice_what_is_free();
	a_connection_is_looked_at_from_its_first_second_on();
	who_is_stuck_and_holds_most_has_to_go();
	fp_fill_defaults(&config);
	CHECK(config.sockets_mib >= 32 &&
	      (uint64_t)config.sockets_mib << 20 < (uint64_t)get_phys_pages() * 4096 / 4 + 32 * MIB);

	fp_conns_clear(&conns);
	struct fp_image *last = atomic_load(&image);
	fp_registry_unbind(last->endpoints, last->endpoint_count);
	fp_registry_sweep(&registry);
	fp_registry_clear(&registry);
	fp_image_free(last);
	fp_plains_clear(&plains);
	fp_pipes_clear(&pipes);
	fp_ring_free(&ring);
	fp_bell_close(&bell);
	fp_loop_close(&loop);
	return 0;
}
