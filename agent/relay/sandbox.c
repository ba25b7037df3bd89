#include "sandbox.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../bpf/include/tg_capture.h"
#include "addr.h"
#include "netns.h"
#include "stream_plain.h"

enum { FP_BACKLOG = 4096 }; /* the kernel lowers it to the pod's net.core.somaxconn */

static int bind_and_listen(int fd, const struct tg_addr *addr, uint16_t port_be)
{
	union fp_sockaddr name;
	socklen_t length = fp_sockaddr_make(addr, port_be, &name);
	return bind(fd, &name.sa, length) || listen(fd, FP_BACKLOG) ? -errno : 0;
}

/* One listener for all workers instead of one each with SO_REUSEPORT: a process of the pod with our uid could join a
 * reuseport group and take connections, and connections queued on a busy worker's own listener would wait for it. */
static int make_listener(const struct tg_addr *addr, uint16_t wanted_be)
{
	int one = 1, family = fp_addr_is_v4(addr) ? AF_INET : AF_INET6;
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* Accepted sockets inherit the first three: no system call per connection. Reuse: what is left of an earlier relay's
	 * connections (TIME_WAIT) must not keep us off its port; a port that somebody listens on stays taken. Freebind: the
	 * v6 capture prefix is routed to lo but is no address of any interface. */
	int rc = setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) ||
				 setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one)) ||
				 setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one)) ||
				 setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
				 (family == AF_INET6 &&
				  (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) ||
				   setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &one, sizeof(one)))) ?
			 -errno :
			 0;
	if (!rc)
		rc = fp_plain_keep_little(fd); /* inherited, too */
	if (!rc)
		rc = bind_and_listen(fd, addr, wanted_be);
	if (rc) {
		close(fd);
		return rc;
	}
	return fd;
}

/* Where a socket listens; 0 if it does not, or elsewhere than on addr. */
static uint16_t port_of(int fd, const struct tg_addr *addr)
{
	union fp_sockaddr name;
	struct tg_addr bound;
	int listens = 0, protocol = 0;
	socklen_t length = sizeof(name), size = sizeof(int);
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) || !listens ||
	    getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) || protocol != IPPROTO_TCP ||
	    getsockname(fd, &name.sa, &length))
		return 0;
	uint16_t port_be = fp_sockaddr_read(&name, &bound);
	return fp_addr_equal(&bound, addr) ? port_be : 0;
}

static int open_listener(const struct tg_addr *addr, uint16_t wanted_be, uint16_t *ret_port_be)
{
	int fd = make_listener(addr, wanted_be);
	if (fd < 0 && wanted_be) /* taken by now */
		fd = make_listener(addr, 0);
	if (fd >= 0)
		*ret_port_be = port_of(fd, addr);
	return fd;
}

static int take_listener(int borrowed, const struct tg_addr *addr, uint16_t *ret_port_be)
{
	uint16_t port_be = port_of(borrowed, addr);
	if (!port_be)
		return -EINVAL;
	int one = 1, fd = fcntl(borrowed, F_DUPFD_CLOEXEC, 0);
	/* A relay of an earlier version did not ask for these. */
	if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one)) || fp_plain_keep_little(fd))) {
		close(fd);
		fd = -1;
	}
	if (fd >= 0)
		*ret_port_be = port_be;
	return fd < 0 ? -errno : fd;
}

/* The source that this namespace's default route gives; connecting a datagram socket sends nothing. */
static void learn_usual_source(int family, const char *somewhere, struct tg_addr *ret_addr)
{
	union fp_sockaddr name = { .sa.sa_family = (sa_family_t)family };
	socklen_t length = family == AF_INET ? sizeof(name.in) : sizeof(name.in6);
	void *addr = family == AF_INET ? (void *)&name.in.sin_addr : (void *)&name.in6.sin6_addr;
	name.in.sin_port = htons(9); /* sin6_port is at the same place */
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (inet_pton(family, somewhere, addr) == 1 && connect(fd, &name.sa, length) == 0 &&
	    getsockname(fd, &name.sa, &length) == 0)
		fp_sockaddr_read(&name, ret_addr);
	close(fd);
}

struct opening {
	struct fp_sandbox *sandbox;
	const int *listeners; /* to be taken over, or NULL */
	struct fp_ports wanted;
	bool v6;
};

static int open_inside(void *arg)
{
	static const struct tg_addr capture4 = TG_CAPTURE4_FASTPATH, capture6 = TG_CAPTURE6_FASTPATH;
	struct opening *opening = arg;
	struct fp_sandbox *sandbox = opening->sandbox;
	const int *taken = opening->listeners;
	int fd = taken ? take_listener(taken[FP_LISTENER4], &capture4, &sandbox->ports.port4_be) :
			 open_listener(&capture4, opening->wanted.port4_be, &sandbox->ports.port4_be);
	if (fd < 0)
		return fd;
	sandbox->listener[FP_LISTENER4] = fd;
	/* RFC 5737: documentation only */
	learn_usual_source(AF_INET, "192.0.2.1", &sandbox->usual[FP_LISTENER4]);
	if (!opening->v6)
		return 0;
	fd = taken ? take_listener(taken[FP_LISTENER6], &capture6, &sandbox->ports.port6_be) :
		     open_listener(&capture6, opening->wanted.port6_be, &sandbox->ports.port6_be);
	if (fd < 0)
		return fd;
	sandbox->listener[FP_LISTENER6] = fd;
	learn_usual_source(AF_INET6, "2001:db8::1", &sandbox->usual[FP_LISTENER6]); /* RFC 3849 */
	return 0;
}

void fp_presence_init(struct fp_presence *presence)
{
	fp_party_init(&presence->party);
	fp_list_init(&presence->conns);
	fp_task_init(&presence->evict, NULL);
}

int fp_sandbox_open(const struct fp_sandbox_config *config, const int *listeners, uint32_t workers,
		    struct fp_sandbox **ret_sandbox)
{
	struct fp_sandbox *sandbox = calloc(1, sizeof(*sandbox) + workers * sizeof(struct fp_presence));
	if (!sandbox)
		return -ENOMEM;
	sandbox->cookie = config->netns_cookie;
	sandbox->listener[FP_LISTENER4] = sandbox->listener[FP_LISTENER6] = -1;
	sandbox->netns_fd = fcntl(config->netns_fd, F_DUPFD_CLOEXEC, 0);
	int rc = sandbox->netns_fd < 0 ? -errno : 0;
	struct opening opening = {
		.sandbox = sandbox,
		.listeners = listeners,
		.wanted = config->wanted,
		.v6 = config->flags & TG_POD_V6_CAPTURE,
	};
	if (!rc)
		rc = fp_in_netns(sandbox->netns_fd, open_inside, &opening);
	if (rc) {
		fp_sandbox_free(sandbox);
		return rc;
	}
	for (uint32_t i = 0; i < workers; i++) {
		struct fp_presence *presence = &sandbox->presence[i];
		fp_presence_init(presence);
		for (int k = 0; k < FP_LISTENERS; k++)
			fp_watch_init(&presence->watches[k], sandbox, &presence->party.lane, sandbox->listener[k]);
	}
	*ret_sandbox = sandbox;
	return 0;
}

void fp_sandbox_hush(struct fp_sandbox *sandbox)
{
	for (int i = 0; i < FP_LISTENERS; i++) {
		if (sandbox->listener[i] >= 0)
			close(sandbox->listener[i]);
		sandbox->listener[i] = -1;
	}
}

void fp_sandbox_free(struct fp_sandbox *sandbox)
{
	fp_sandbox_hush(sandbox);
	if (sandbox->netns_fd >= 0)
		close(sandbox->netns_fd);
	free(sandbox);
}
