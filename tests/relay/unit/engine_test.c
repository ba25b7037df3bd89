/* The whole engine under a sanitizer: connections come, move bytes, become busy and are carried by another worker, end by FIN and
 * by RST, while images are swapped and the pod is removed and added. Everything happens in a network namespace of this process (needs root). */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../../agent/relay/engine.h"
#include "../../../agent/relay/worker.h"
#include "../../../bpf/include/tg_capture.h"
#include "check.h"

enum { CLIENTS = 3, CONNECTIONS = 150, COOKIE = 77, SERVERS = 2 };

static const struct tg_addr vip = { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 96, 0, 1 } };
static const struct tg_addr loopback = { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1 } };
static struct fp_engine *engine;
static int flows_fd;
static uint16_t server_port_be[SERVERS];
static _Atomic uint16_t capture_port_be;
static _Atomic uint32_t served, finished;

static int bpf(int command, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static int make_flows(void)
{
	union bpf_attr attr = { .map_type = BPF_MAP_TYPE_LRU_HASH,
				.key_size = sizeof(struct tg_flow_key),
				.value_size = sizeof(struct tg_flow),
				.max_entries = 4096 };
	return bpf(BPF_MAP_CREATE, &attr);
}

static void record(uint16_t port_be, uint16_t listener_port_be)
{
	struct tg_flow_key key = { .netns_cookie = COOKIE,
				   .src = loopback,
				   .src_port_be = port_be,
				   .listener_port_be = listener_port_be,
				   .tier = TG_TIER_FASTPATH };
	struct tg_flow flow = { .dst = vip, .dst_port_be = htons(80) };
	union bpf_attr attr = { 0 };
	attr.map_fd = (uint32_t)flows_fd;
	attr.key = (uint64_t)(uintptr_t)&key;
	attr.value = (uint64_t)(uintptr_t)&flow;
	CHECK(bpf(BPF_MAP_UPDATE_ELEM, &attr) == 0);
}

static struct sockaddr_in name(const char *ip, uint16_t port_be)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = port_be };
	inet_pton(AF_INET, ip, &in.sin_addr);
	return in;
}

static void *echo(void *arg)
{
	int listener = (int)(intptr_t)arg, fd;
	char data[70000];
	while ((fd = accept(listener, NULL, NULL)) >= 0) {
		ssize_t n;
		while ((n = recv(fd, data, sizeof(data), 0)) > 0) {
			if (send(fd, data, (size_t)n, MSG_NOSIGNAL) != n)
				break;
		}
		close(fd);
	}
	return NULL;
}

static void reset(int fd)
{
	struct linger at_once = { .l_onoff = 1 };
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
}

/* -1 while the pod is removed. */
static int dial(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in from = name("127.0.0.1", 0), to = name(TG_CAPTURE4_FASTPATH_IP, capture_port_be);
	struct timeval patience = { .tv_sec = 10 };
	socklen_t length = sizeof(from);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	CHECK(bind(fd, (void *)&from, sizeof(from)) == 0 && getsockname(fd, (void *)&from, &length) == 0);
	record(from.sin_port, to.sin_port);
	if (connect(fd, (void *)&to, sizeof(to))) {
		close(fd);
		return -1;
	}
	return fd;
}

/* A pod that is being removed resets connections, so a client only insists that what it gets back is right. */
static void *client(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;
	static char data[CLIENTS][50000];
	char back[50000], *out = data[seed];
	memset(out, 'a' + (int)seed, sizeof(data[0]));
	for (int i = 0; i < CONNECTIONS; i++) {
		int fd = dial();
		if (fd < 0) {
			i--;
			sched_yield();
			continue;
		}
		size_t size = (size_t)rand_r(&seed) % sizeof(back) + 1, got = 0;
		ssize_t n = 0;
		if (send(fd, out, size, MSG_NOSIGNAL) == (ssize_t)size) {
			while (got < size && (n = recv(fd, back + got, size - got, 0)) > 0)
				got += (size_t)n;
			CHECK(n >= 0 || errno != EAGAIN); /* no answer and no reset: stuck */
			CHECK(memcmp(back, out, got) == 0);
			served += got == size;
		}
		if (i % 5 == 0)
			reset(fd);
		close(fd);
	}
	finished++;
	return NULL;
}

static void publish(uint64_t generation)
{
	struct fp_image *image;
	CHECK(fp_image_new(generation, &image) == 0);
	for (uint32_t i = 0; i < generation % 7; i++)
		CHECK(fp_image_service(image, 100 + i, FP_LB_RANDOM) == 0);
	CHECK(fp_image_service(image, 1, (uint32_t)(generation % 3)) == 0);
	CHECK(fp_image_address(image, &vip, htons(80)) == 0);
	for (uint32_t i = 0; i < SERVERS; i++) {
		if (generation % 4 != i)
			CHECK(fp_image_endpoint(image, &loopback, server_port_be[i], i + 1) == 0);
	}
	CHECK(fp_image_endpoint(image, &loopback, htons(1), 1) == 0); /* refuses */
	CHECK(fp_publish(engine, image) == 0);
}

static void add_pod(int netns_fd)
{
	struct fp_sandbox_config pod = { .netns_cookie = COOKIE, .netns_fd = netns_fd };
	struct fp_ports ports;
	CHECK(fp_sandbox_add(engine, &pod, &ports) == 0);
	capture_port_be = ports.port4_be;
}

static uint32_t drain(void)
{
	static struct fp_event events[256];
	uint32_t total = 0;
	int n;
	while ((n = fp_events_drain(engine, events, 256)) > 0) {
		for (int i = 0; i < n; i++)
			total += events[i].connections; /* that ended */
	}
	return total;
}

/* Connections that carriers have; `ever`: that came to them and did not go back. */
static uint32_t carried(bool ever)
{
	uint32_t sum = 0;
	for (uint32_t i = engine->shared.config.workers; i < engine->shared.count; i++) {
		const struct fp_worker_stats *stats = &engine->shared.workers[i]->stats;
		sum += ever ? atomic_load(&stats->moved) : fp_present(stats);
	}
	return sum;
}

/* Bytes there and back. */
static void exchange(int fd, size_t size)
{
	static char out[50000], back[50000];
	size_t got = 0;
	ssize_t n;
	CHECK(send(fd, out, size, MSG_NOSIGNAL) == (ssize_t)size);
	while (got < size && (n = recv(fd, back, size - got, 0)) > 0)
		got += (size_t)n;
	CHECK(got == size);
}

/* Who is busy is carried, and who is calm again goes back; nobody goes out of a pod that is being closed. */
static void one_goes_and_returns(void)
{
	int fd = dial();
	CHECK(fd >= 0);
	exchange(fd, 1);
	CHECK(!fp_tell_all(engine, (struct fp_message){ .kind = FP_MSG_UNWATCH, .sandbox = engine->sandboxes }));
	for (int i = 0; i < 20; i++)
		exchange(fd, 50000);
	CHECK(!carried(false));
	CHECK(!fp_tell_all(engine, (struct fp_message){ .kind = FP_MSG_WATCH, .sandbox = engine->sandboxes }));
	for (int i = 0; i < 1000 && !carried(false); i++)
		exchange(fd, 50000);
	CHECK(carried(false) == 1);
	for (int i = 0; i < 10000 && carried(false); i++) {
		struct pollfd nothing = { .fd = fd, .events = POLLIN };
		CHECK(poll(&nothing, 1, 5) == 0);
	}
	CHECK(!carried(false));
	exchange(fd, 1);
	close(fd);
}

static int loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM, 0), rc = ioctl(fd, SIOCSIFFLAGS, &request);
	close(fd);
	return rc;
}

static int listen_on_loopback(uint16_t *ret_port_be)
{
	struct sockaddr_in in = name("127.0.0.1", 0);
	socklen_t length = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(bind(fd, (void *)&in, sizeof(in)) == 0 && listen(fd, 128) == 0);
	CHECK(getsockname(fd, (void *)&in, &length) == 0);
	*ret_port_be = in.sin_port;
	return fd;
}

int main(void)
{
	pthread_t clients[CLIENTS], servers[SERVERS];
	int listeners[SERVERS];
	uint64_t ended = 0;
	CHECK(unshare(CLONE_NEWNET) == 0 && loopback_up() == 0);
	int netns_fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	flows_fd = make_flows();
	CHECK(netns_fd >= 0 && flows_fd >= 0);
	struct fp_config config = { .workers = 3,
				    .flows_fd = flows_fd,
				    .buffer_bytes = 65536,
				    .pool_mib = 1,
				    .each_event = 1,
				    .report_ms = 1 };
	CHECK(fp_engine_start(&config, &engine) == 0);
	for (uint32_t i = 0; i < engine->shared.count; i++) /* there is no pod yet, so nobody looks */
		engine->shared.workers[i]->pipes.bulk_most = 1;
	for (int i = 0; i < SERVERS; i++)
		listeners[i] = listen_on_loopback(&server_port_be[i]);
	for (int i = 0; i < SERVERS; i++)
		CHECK(pthread_create(&servers[i], NULL, echo, (void *)(intptr_t)listeners[i]) == 0);
	publish(1);
	add_pod(netns_fd);
	for (uintptr_t i = 0; i < CLIENTS; i++)
		CHECK(pthread_create(&clients[i], NULL, client, (void *)i) == 0);

	for (uint64_t generation = 2; finished < CLIENTS; generation++) {
		struct fp_stats stats;
		struct pollfd bell = { .fd = fp_event_fd(engine), .events = POLLIN };
		publish(generation);
		if (generation % 50 == 0) {
			CHECK(fp_sandbox_remove(engine, COOKIE) == 0);
			add_pod(netns_fd);
		}
		fp_stats_read(engine, &stats);
		CHECK(fp_generation(engine) == generation);
		poll(&bell, 1, 2); /* the pace of this loop */
		ended += drain();
	}
	for (int i = 0; i < CLIENTS; i++)
		pthread_join(clients[i], NULL);
	CHECK(carried(true) > 0);
	publish(2);
	one_goes_and_returns();
	fp_engine_stop(engine, 2000);
	ended += drain();
	struct fp_stats stats;
	fp_stats_read(engine, &stats);
	CHECK(stats.active == 0 && stats.accepted > 0 && stats.events_lost == 0 && stats.accepted == ended);
	CHECK(served > CLIENTS * CONNECTIONS * 9 / 10);
	fp_engine_free(engine);
	for (int i = 0; i < SERVERS; i++) {
		shutdown(listeners[i], SHUT_RDWR);
		pthread_join(servers[i], NULL);
		close(listeners[i]);
	}
	close(netns_fd);
	close(flows_fd);
	return 0;
}
