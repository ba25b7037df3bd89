/* A connection and its upstream without a worker: endpoints are dialled by this test. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "../../../agent/relay/addr.h"
#include "../../../agent/relay/conn.h"
#include "../../../agent/relay/image.h"
#include "../../../agent/relay/sandbox.h"
#include "../../../agent/relay/stream_plain.h"
#include "arrived.h"
#include "check.h"

enum { ENDPOINTS = 4 };

/* What the dialer does at its n-th call. */
enum script { OPENS, IS_OPEN, FAILS_AT_ONCE, FAILS_LATER, NEVER_ANSWERS, NO_DESCRIPTORS };

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
static struct fp_netns_visit visit;
static struct fp_peers peers;
static struct fp_sandbox sandbox = { .cookie = 77, .presence = { { .party.buffers = 0 } } };
static const struct fp_flow flow = { .client = { { 1 } },
				     .source = { { 2 } },
				     .dst = { { 3 } },
				     .dst_port_be = 80,
				     .client_port_be = 1234,
				     .service = 9 };

static const enum script *script;
static uint32_t dialled, seconds; /* seconds: how many of them in the other family */
static const struct tg_addr second = { { [10] = 0xff, 0xff, 10, 0, 0, 9 } };
static uint16_t ports[8];
static int server; /* the end of the last upstream that is not the relay's */
static int client;

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

static int dial(struct fp_dialer *dialer, const struct fp_origin *from, const struct tg_addr *addr, uint16_t port_be,
		struct fp_stream **ret_stream)
{
	enum script now = script[dialled];
	int fds[2], size = 4608;
	CHECK(dialer && (addr->ip[0] == 10 || fp_addr_equal(addr, &second)));
	CHECK(from->netns_fd == sandbox.netns_fd && from->source.ip[0] == flow.source.ip[0]);
	seconds += fp_addr_equal(addr, &second);
	ports[dialled++] = port_be;
	if (now == FAILS_AT_ONCE || now == NO_DESCRIPTORS)
		return now == NO_DESCRIPTORS ? -EMFILE : -ECONNREFUSED;
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	server = fds[1];
	if (now == FAILS_LATER || now == NEVER_ANSWERS)
		CHECK(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) == 0);
	if (now == NEVER_ANSWERS) {
		/* Full, so that it never becomes writable, which would mean open. */
		while (send(fds[0], "x", 1, MSG_NOSIGNAL) > 0)
			;
	}
	CHECK(fp_plain_open(&plains, fds[0], now == IS_OPEN, ret_stream) == 0);
	if (now == FAILS_LATER)
		close(server); /* HUP before it is open */
	return 0;
}

static void publish(uint32_t endpoints)
{
	struct fp_image *made;
	CHECK(fp_image_new(1, &made) == 0 && fp_image_service(made, 42, FP_LB_ROUND_ROBIN) == 0);
	CHECK(fp_image_address(made, &flow.dst, flow.dst_port_be) == 0);
	for (uint32_t i = 0; i < endpoints; i++)
		CHECK(fp_image_endpoint(made, &(struct tg_addr){ { 10 } }, (uint16_t)(100 + i), 1) == 0);
	CHECK(fp_image_seal(made) == 0 && fp_registry_bind(&registry, made->endpoints, made->endpoint_count) == 0);
	atomic_store(&image, made);
}

static void withdraw(void)
{
	struct fp_image *old = atomic_exchange(&image, NULL);
	for (uint32_t i = 0; i < old->endpoint_count; i++)
		CHECK(atomic_load(&old->endpoints[i].target->live) == 0); /* nothing stays counted up */
	fp_registry_unbind(old->endpoints, old->endpoint_count);
	fp_registry_sweep(&registry);
	CHECK(registry.count == 0);
	fp_image_free(old);
}

static struct fp_conn *open_conn(const enum script *what)
{
	struct fp_stream *stream;
	int fds[2];
	script = what;
	dialled = 0;
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	client = fds[1];
	CHECK(fp_plain_open(&plains, fds[0], true, &stream) == 0);
	struct fp_conn *conn = fp_conn_open(&conns, &sandbox, stream, &flow);
	CHECK(conn);
	return conn;
}

static bool gone(int fd)
{
	char byte;
	return read(fd, &byte, 1) == 0;
}

/* The connection has ended, for this reason, after so many attempts, and that was reported once. */
static void expect_end(enum fp_reason reason, uint32_t attempts)
{
	struct fp_event events[4];
	settle();
	CHECK(fp_active(&stats) == 0 && atomic_load(&sandbox.active) == 0 && dialled == attempts);
	CHECK(fp_ring_drain(&ring, events, 4) == 1);
	CHECK(events[0].reason == (uint32_t)reason && events[0].connections == 1 && events[0].opened == 1);
	CHECK(events[0].client_port_be == flow.client_port_be && events[0].dst_port_be == flow.dst_port_be);
	CHECK(events[0].netns_cookie == sandbox.cookie);
	CHECK(events[0].endpoint_port_be == (attempts ? ports[attempts - 1] : 0));
	CHECK(events[0].service == (atomic_load(&image) ? 42 : flow.service));
	for (uint32_t i = 0; i < attempts; i++) {
		for (uint32_t k = 0; k < i; k++)
			CHECK(ports[i] != ports[k]); /* none is tried twice */
	}
	CHECK(fp_list_empty(&conns.live) && fp_list_empty(&conns.dead) && fp_list_empty(&conns.reports.queue));
	CHECK(fp_list_empty(&upstreams.timeouts.queue));
	CHECK(gone(client));
	close(client);
}

static void another_endpoint_is_tried(void)
{
	publish(ENDPOINTS);
	struct fp_conn *conn = open_conn((enum script[]){ FAILS_AT_ONCE, FAILS_LATER, OPENS });
	CHECK(send(client, "ping", 4, 0) == 4); /* waits, whichever endpoint answers */
	settle();
	CHECK(conn->state == FP_RELAYING && dialled == 3 && fp_active(&stats) == 1);
	uint32_t live = 0;
	for (int i = 0; i < ENDPOINTS; i++)
		live += atomic_load(&atomic_load(&image)->endpoints[i].target->live);
	CHECK(live == 1 && atomic_load(&conn->upstream.tried[2]->live) == 1);
	char got[8];
	CHECK(recv(server, got, sizeof(got), 0) == 4 && memcmp(got, "ping", 4) == 0);
	shutdown(client, SHUT_WR);
	settle();
	CHECK(gone(server) && shutdown(server, SHUT_WR) == 0);
	expect_end(FP_CLOSE_OK, 3);
	close(server);
	withdraw();
}

static void attempts_are_bounded(void)
{
	publish(ENDPOINTS);
	open_conn((enum script[]){ FAILS_AT_ONCE, FAILS_AT_ONCE, FAILS_AT_ONCE });
	expect_end(FP_CLOSE_CONNECT_REFUSED, FP_ATTEMPTS);
	open_conn((enum script[]){ FAILS_AT_ONCE, NO_DESCRIPTORS });
	expect_end(FP_CLOSE_NO_MEMORY, 2); /* another one would not help */
	withdraw();
	publish(2);
	open_conn((enum script[]){ FAILS_LATER, FAILS_AT_ONCE });
	expect_end(FP_CLOSE_CONNECT_REFUSED, 2);
	withdraw();
	publish(0);
	open_conn(NULL);
	expect_end(FP_CLOSE_NO_ENDPOINT, 0);
	withdraw();
	open_conn(NULL);
	expect_end(FP_CLOSE_NO_SERVICE, 0);
}

/* Endpoints that have a second address each. */
static struct fp_conn *open_dual(uint32_t endpoints, const enum script *what)
{
	struct fp_image *made;
	CHECK(fp_image_new(1, &made) == 0 && fp_image_service(made, 42, FP_LB_ROUND_ROBIN) == 0);
	CHECK(fp_image_address(made, &flow.dst, flow.dst_port_be) == 0);
	for (uint32_t i = 0; i < endpoints; i++) {
		CHECK(fp_image_endpoint(made, &(struct tg_addr){ { 10 } }, (uint16_t)(100 + i), 1) == 0);
		CHECK(fp_image_other(made, &(struct tg_addr){ { 11 } }) == -EINVAL); /* of the same family */
		CHECK(fp_image_other(made, &second) == 0 && fp_image_other(made, &second) == -EINVAL);
	}
	CHECK(fp_image_seal(made) == 0 && fp_registry_bind(&registry, made->endpoints, made->endpoint_count) == 0);
	atomic_store(&image, made);
	seconds = 0;
	struct fp_conn *conn = open_conn(what);
	settle();
	return conn;
}

static void end_dual(struct fp_conn *conn, bool is_second)
{
	CHECK(conn->state == FP_RELAYING && fp_list_empty(&upstreams.delays.queue));
	CHECK(fp_addr_equal(&conn->upstream.choice.endpoint, &second) == is_second);
	shutdown(client, SHUT_WR);
	shutdown(server, SHUT_WR);
	settle();
	struct fp_event event;
	CHECK(fp_active(&stats) == 0 && fp_ring_drain(&ring, &event, 1) == 1 && event.reason == FP_CLOSE_OK);
	close(client);
	close(server);
	withdraw();
}

static void an_endpoint_is_tried_in_its_other_family(void)
{
	end_dual(open_dual(1, (enum script[]){ FAILS_AT_ONCE, OPENS }), true);
	end_dual(open_dual(1, (enum script[]){ FAILS_LATER, OPENS }), true);
	end_dual(open_dual(1, (enum script[]){ OPENS }), false);
	CHECK(dialled == 1 && seconds == 0); /* one that answers is dialled once */
	/* Both are refused: it counts as one endpoint, of three that are tried. */
	open_dual(ENDPOINTS, (enum script[]){ FAILS_AT_ONCE, FAILS_LATER, FAILS_LATER, FAILS_AT_ONCE, FAILS_AT_ONCE,
					      FAILS_LATER });
	CHECK(dialled == 6 && seconds == 3 && fp_active(&stats) == 0);
	struct fp_event event;
	CHECK(fp_ring_drain(&ring, &event, 1) == 1 && event.reason == FP_CLOSE_CONNECT_REFUSED);
	close(client);
	withdraw();
}

/* Silence is no refusal: after a moment the other family is tried as well, and whichever answers first wins. */
static void a_silent_family_is_not_waited_for(void)
{
	struct fp_conn *conn = open_dual(1, (enum script[]){ NEVER_ANSWERS, OPENS });
	int silent = server;
	CHECK(dialled == 1 && !fp_list_empty(&conn->upstream.delay.node));
	fp_timer_stop(&conn->upstream.delay);
	conn->upstream.delay.due(&conn->upstream.delay, 0); /* as the loop would */
	settle();
	char byte;
	while (recv(silent, &byte, 1, MSG_DONTWAIT) > 0)
		;
	CHECK(gone(silent)); /* the attempt was given up */
	close(silent);
	end_dual(conn, true);

	conn = open_dual(2, (enum script[]){ NEVER_ANSWERS, FAILS_LATER, OPENS });
	silent = server;
	fp_timer_stop(&conn->upstream.delay);
	conn->upstream.delay.due(&conn->upstream.delay, 0);
	settle();
	CHECK(dialled == 2 && conn->state == FP_CONNECTING); /* refused there, and the first may still answer */
	while (recv(silent, &byte, 1, MSG_DONTWAIT) > 0)
		;
	server = silent;
	settle();
	end_dual(conn, false);
	CHECK(dialled == 2);
}

static void an_attempt_times_out(void)
{
	publish(ENDPOINTS);
	struct fp_conn *conn = open_conn((enum script[]){ NEVER_ANSWERS, NEVER_ANSWERS, NEVER_ANSWERS });
	int first = server;
	settle();
	CHECK(conn->state == FP_CONNECTING && dialled == 1);
	conn->upstream.timeout.due(&conn->upstream.timeout, 0); /* as the loop would */
	CHECK(dialled == 2 && !fp_list_empty(&conn->upstream.timeout.node));
	conn->upstream.timeout.due(&conn->upstream.timeout, 0);
	conn->upstream.timeout.due(&conn->upstream.timeout, 0);
	expect_end(FP_CLOSE_CONNECT_TIMEOUT, 3);
	close(first);
	withdraw();
}

/* No event of it is waited for. */
static void an_upstream_may_be_open_when_it_was_dialled(void)
{
	static const enum script what[] = { FAILS_AT_ONCE, IS_OPEN };
	char got[8] = { 0 };
	publish(ENDPOINTS);
	struct fp_conn *conn = open_conn(what);
	CHECK(conn->state == FP_RELAYING && dialled == 2);
	CHECK(fp_list_empty(&conn->upstream.timeout.node) && fp_list_empty(&conn->upstream.delay.node));
	CHECK(send(client, "hello", 5, 0) == 5);
	settle();
	CHECK(recv(server, got, sizeof(got), 0) == 5 && !strcmp(got, "hello"));
	CHECK(send(server, "you", 3, 0) == 3);
	settle();
	CHECK(recv(client, got, sizeof(got), 0) == 3 && !memcmp(got, "you", 3));
	close(server);
	CHECK(shutdown(client, SHUT_WR) == 0);
	expect_end(FP_CLOSE_OK, 2);
	withdraw();
}

/* A unix socket that is closed with bytes unread resets its peer. */
static void a_client_may_die_while_its_server_is_dialled(void)
{
	struct fp_stream *stream;
	int fds[2];
	publish(1);
	script = (enum script[]){ NEVER_ANSWERS };
	dialled = 0;
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	CHECK(send(fds[0], "x", 1, 0) == 1 && fp_plain_open(&plains, fds[0], true, &stream) == 0);
	CHECK(fp_conn_open(&conns, &sandbox, stream, &flow));
	settle();
	CHECK(fp_active(&stats) == 1);
	close(fds[1]);
	client = open("/dev/null", O_RDONLY); /* stands for what is gone */
	expect_end(FP_CLOSE_CLIENT_RESET, 1);
	close(server);
	withdraw();
}

/* A client whose other end is `client`, over loopback, so that the kernel can be asked about it. */
static struct fp_conn *open_tcp_conn(void)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof(name);
	struct fp_stream *stream;
	int listener = prompt_socket();
	CHECK(bind(listener, (void *)&name, size) == 0 && listen(listener, 1) == 0);
	CHECK(getsockname(listener, (void *)&name, &size) == 0);
	client = prompt_socket();
	CHECK(connect(client, (void *)&name, size) == 0);
	int accepted = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	close(listener);
	script = (enum script[]){ OPENS };
	dialled = 0;
	CHECK(fp_plain_open(&plains, accepted, true, &stream) == 0);
	struct fp_conn *conn = fp_conn_open(&conns, &sandbox, stream, &flow);
	CHECK(conn);
	settle();
	CHECK(conn->state == FP_RELAYING);
	return conn;
}

/* Its end cannot arrive behind bytes that nobody takes, so nothing but a look tells that it is gone. */
static void a_dead_client_is_waited_for_as_its_kernel_would(void)
{
	const uint64_t second = 1000000000, now = fp_clock_ns();
	char bytes[65536] = { 0 };
	publish(1);
	struct fp_conn *conn = open_tcp_conn();
	while (send(client, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		settle();
	CHECK(conn->pipe.way[FP_CLIENT].length);
	conn->report.due(&conn->report, now); /* tells what moved */
	conn->report.due(&conn->report, now + 200 * second);
	CHECK(conn->gone_ns == 0); /* it lives, and may wait as long as it likes */
	close(client);
	client = open("/dev/null", O_RDONLY); /* stands for what is gone */
	conn->report.due(&conn->report, now + 201 * second);
	conn->report.due(&conn->report, now + 300 * second);
	CHECK(conn->state == FP_RELAYING);
	conn->report.due(&conn->report, now + 302 * second);
	struct fp_event events[4];
	CHECK(conn->state == FP_CLOSED && fp_ring_drain(&ring, events, 4) == 2);
	CHECK(events[0].connections == 0 && events[1].reason == FP_CLOSE_CLIENT_GONE);
	settle();
	close(client);
	close(server);
	withdraw();
}

static void a_sandbox_takes_its_connections_along(void)
{
	struct fp_presence other;
	fp_presence_init(&other);
	publish(1);
	open_conn((enum script[]){ NEVER_ANSWERS });
	CHECK(!fp_conns_evict(&other, 1) && fp_active(&stats) == 1);
	/* others have their turn first */
	CHECK(fp_conns_evict(&sandbox.presence[0], 0) && fp_active(&stats) == 1);
	CHECK(!fp_conns_evict(&sandbox.presence[0], 1));
	expect_end(FP_CLOSE_SHUTDOWN, 1);
	close(server);
	withdraw();
}

/* Two services: whoever asks for "a" gets the second one, whoever asks for nothing the first. */
static void publish_routes(bool any)
{
	struct fp_image *made;
	CHECK(fp_image_new(1, &made) == 0 && fp_image_service(made, 42, FP_LB_ROUND_ROBIN) == 0);
	CHECK(fp_image_address(made, &flow.dst, flow.dst_port_be) == 0);
	CHECK(fp_image_endpoint(made, &(struct tg_addr){ { 10 } }, 100, 1) == 0);
	CHECK(fp_image_view(made) == 0 && fp_routes_rule(&made->routes) == 0);
	CHECK(fp_routes_name(&made->routes, &(struct fp_file_name){ .text = "a" }) == 0);
	CHECK(fp_routes_target(&made->routes, 43, 1) == 0);
	if (any)
		CHECK(fp_routes_rule(&made->routes) == 0 && fp_routes_target(&made->routes, 42, 1) == 0);
	CHECK(fp_image_service(made, 43, FP_LB_ROUND_ROBIN) == 0);
	CHECK(fp_image_settings(made,
				&(struct fp_settings){
					.idle_ms = 1000,
					.outlier = { .failures = 1, .base_ms = 3600000, .most_percent = 100 } }) == 0);
	CHECK(fp_image_endpoint(made, &(struct tg_addr){ { 10 } }, 101, 1) == 0);
	CHECK(fp_image_seal(made) == 0 && fp_image_bind(made, &registry) == 0);
	atomic_store(&image, made);
}

static void withdraw_routes(void)
{
	struct fp_image *old = atomic_exchange(&image, NULL);
	fp_image_unbind(old);
	fp_registry_sweep(&registry);
	CHECK(registry.count == 0); /* nothing of it is counted up any more */
	fp_image_free(old);
}

/* The shortest message that asks for "a". */
static const uint8_t asks_for_a[] = { 22, 3, 1, 0, 57, 1, 0, 0, 53, 3, 3, [43] = 0, 0, 2, 19,
				      1,  1, 0, 0, 10, 0, 0, 0, 6,  0, 4, 0,        0, 1, 'a' };

static void told_end(enum fp_reason reason, uint32_t service)
{
	struct fp_event event;
	settle();
	CHECK(fp_active(&stats) == 0 && fp_ring_drain(&ring, &event, 1) == 1);
	CHECK(event.reason == (uint32_t)reason && event.service == service);
	CHECK(fp_list_empty(&conns.greets.timeouts.queue));
	close(client);
}

static void a_name_is_waited_for_and_left_where_it_is(void)
{
	char got[64];
	publish_routes(true);
	struct fp_conn *conn = open_conn((enum script[]){ OPENS });
	for (size_t i = 0; i < sizeof(asks_for_a); i++) {
		settle();
		CHECK(conn->greet && dialled == 0);
		CHECK(send(client, asks_for_a + i, 1, 0) == 1);
	}
	settle();
	CHECK(conn->state == FP_RELAYING && !conn->greet && ports[0] == 101);
	CHECK(recv(server, got, sizeof(got), 0) == sizeof(asks_for_a) && !memcmp(got, asks_for_a, sizeof(asks_for_a)));
	/* It is idle by now, in order. */
	conn->life.moved_ns -= 3600 * (uint64_t)1000000000;
	conn->life.bytes = conn->pipe.way[FP_CLIENT].bytes;
	fp_timer_stop(&conn->life.timer);
	conn->life.timer.due(&conn->life.timer, fp_clock_ns());
	CHECK(gone(server) && gone(client));
	close(server);
	told_end(FP_CLOSE_IDLE_TIMEOUT, 43);

	conn = open_conn((enum script[]){ OPENS });
	settle();
	CHECK(conn->greet && dialled == 0);
	fp_timer_stop(&conn->greet->timeout);
	conn->greet->timeout.due(&conn->greet->timeout, 0); /* its server speaks first */
	settle();
	CHECK(conn->state == FP_RELAYING && ports[0] == 100);
	shutdown(client, SHUT_WR);
	shutdown(server, SHUT_WR);
	told_end(FP_CLOSE_OK, 42);
	close(server);

	conn = open_conn(NULL);
	settle();
	CHECK(conn->greet && !fp_conns_evict(&sandbox.presence[0], 1));
	told_end(FP_CLOSE_SHUTDOWN, flow.service);
	withdraw_routes();
}

/* In the same turn: nothing is waited for. */
static void first_bytes_that_are_here_leave_as_soon_as_there_is_a_server(void)
{
	struct fp_stream *stream;
	char got[64];
	int fds[2];
	publish_routes(true);
	script = (enum script[]){ IS_OPEN };
	dialled = 0;
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	client = fds[1];
	CHECK(send(client, asks_for_a, sizeof(asks_for_a), 0) == sizeof(asks_for_a));
	CHECK(fp_plain_open(&plains, fds[0], true, &stream) == 0);
	struct fp_conn *conn = fp_conn_open(&conns, &sandbox, stream, &flow);
	CHECK(conn && conn->state == FP_RELAYING && conn->upstream.from.bytes_wait);
	CHECK(recv(server, got, sizeof(got), 0) == sizeof(asks_for_a) && !memcmp(got, asks_for_a, sizeof(asks_for_a)));
	shutdown(client, SHUT_WR);
	shutdown(server, SHUT_WR);
	told_end(FP_CLOSE_OK, 43);
	close(server);
	withdraw_routes();
}

/* Also where no name is asked for: bytes that came with the connection wait for no event of it. */
static void bytes_that_came_with_the_client_leave_with_the_connection(void)
{
	struct fp_stream *stream;
	char got[8];
	int fds[2];
	publish(1);
	for (int early = 0; early < 2; early++) {
		script = (enum script[]){ IS_OPEN };
		dialled = 0;
		CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
		client = fds[1];
		CHECK(!early || send(client, "ping", 4, 0) == 4);
		CHECK(fp_plain_open(&plains, fds[0], true, &stream) == 0);
		struct fp_conn *conn = fp_conn_open(&conns, &sandbox, stream, &flow);
		CHECK(conn && conn->state == FP_RELAYING && conn->upstream.from.bytes_wait == early);
		CHECK(recv(server, got, sizeof(got), MSG_DONTWAIT) == (early ? 4 : -1));
		shutdown(client, SHUT_WR);
		shutdown(server, SHUT_WR);
		expect_end(FP_CLOSE_OK, 1);
		close(server);
	}
	withdraw();
}

static void an_endpoint_that_fails_is_left_out(void)
{
	publish_routes(false);
	for (int i = 0; i < 2; i++) {
		open_conn((enum script[]){ FAILS_LATER });
		CHECK(send(client, asks_for_a, sizeof(asks_for_a), 0) == sizeof(asks_for_a));
		settle();
		CHECK(dialled == (i == 0));
		told_end(i ? FP_CLOSE_NO_HEALTHY : FP_CLOSE_CONNECT_FAILED, 43);
	}
	open_conn(NULL);
	CHECK(send(client, "GET /", 5, 0) == 5);
	told_end(FP_CLOSE_NO_ROUTE, 42);
	withdraw_routes();
}

int main(void)
{
	static struct fp_dialer dialer = { dial };
	CHECK(fp_loop_open(&loop) == 0 && fp_bell_open(&bell) == 0 && fp_ring_init(&ring) == 0);
	CHECK(fp_pipes_init(&pipes, &loop, 4096, 4, stats.bytes) == 0);
	fp_plains_init(&plains, &loop);
	hold.current = &image;
	fp_upstreams_init(&upstreams, &loop, &dialer, &hold, 3600u * (uint64_t)1000000000);
	fp_reporter_init(&reporter, &loop, &ring, &bell);
	reporter.each = true;
	reporter.period_ns = 3600u * (uint64_t)1000000000;
	fp_conns_init(&conns, &loop);
	fp_presence_init(&sandbox.presence[0]);
	conns.pipes = &pipes;
	conns.upstreams = &upstreams;
	conns.reporter = &reporter;
	conns.stats = &stats;
	CHECK(fp_netns_visit_init(&visit) == 0);
	fp_peers_init(&peers, &visit);
	conns.peers = &peers;
	sandbox.netns_fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	another_endpoint_is_tried();
	attempts_are_bounded();
	an_endpoint_is_tried_in_its_other_family();
	a_silent_family_is_not_waited_for();
	an_attempt_times_out();
	an_upstream_may_be_open_when_it_was_dialled();
	a_client_may_die_while_its_server_is_dialled();
	a_dead_client_is_waited_for_as_its_kernel_would();
	a_sandbox_takes_its_connections_along();
	a_name_is_waited_for_and_left_where_it_is();
	first_bytes_that_are_here_leave_as_soon_as_there_is_a_server();
	bytes_that_came_with_the_client_leave_with_the_connection();
	an_endpoint_that_fails_is_left_out();

	fp_peers_leave(&peers);
	fp_netns_visit_close(&visit);
	close(sandbox.netns_fd);
	fp_conns_clear(&conns);
	fp_plains_clear(&plains);
	fp_pipes_clear(&pipes);
	fp_ring_free(&ring);
	fp_bell_close(&bell);
	fp_registry_clear(&registry);
	fp_loop_close(&loop);
	return 0;
}
