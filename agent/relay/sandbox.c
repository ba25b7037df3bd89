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

enum { FP_BACKLOG = 4096 }; /* the kernel lowers it to the pod's net.core.somaxconn */

/* One listener for all workers instead of one each with SO_REUSEPORT: a process of the pod with our uid could join a
 * reuseport group and take connections, and connections queued on a busy worker's own listener would wait for it. */
static int open_listener(const struct tg_addr *addr, uint16_t *ret_port_be)
{
	union fp_sockaddr name;
	socklen_t length = fp_sockaddr_make(addr, 0, &name);
	int one = 1, rc;
	int fd = socket(name.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	/* Accepted sockets inherit the first two: no system call per connection. Freebind: the v6 capture prefix is routed
	 * to lo but is no address of any interface. */
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) ||
	    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one)) ||
	    (name.sa.sa_family == AF_INET6 && (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) ||
					       setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &one, sizeof(one)))) ||
	    bind(fd, &name.sa, length) || listen(fd, FP_BACKLOG) || getsockname(fd, &name.sa, &length)) {
		rc = -errno;
		close(fd);
		return rc;
	}
	struct tg_addr bound;
	*ret_port_be = fp_sockaddr_read(&name, &bound);
	return fd;
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
	bool v6;
};

static int open_inside(void *arg)
{
	static const struct tg_addr capture4 = TG_CAPTURE4_FASTPATH, capture6 = TG_CAPTURE6_FASTPATH;
	struct opening *opening = arg;
	struct fp_sandbox *sandbox = opening->sandbox;
	int fd = open_listener(&capture4, &sandbox->ports.port4_be);
	if (fd < 0)
		return fd;
	sandbox->listener[FP_LISTENER4] = fd;
	learn_usual_source(AF_INET, "192.0.2.1", &sandbox->usual[FP_LISTENER4]); /* RFC 5737: documentation only */
	if (!opening->v6)
		return 0;
	fd = open_listener(&capture6, &sandbox->ports.port6_be);
	if (fd < 0)
		return fd;
	sandbox->listener[FP_LISTENER6] = fd;
	learn_usual_source(AF_INET6, "2001:db8::1", &sandbox->usual[FP_LISTENER6]); /* RFC 3849 */
	return 0;
}

int fp_sandbox_open(const struct fp_pod *pod, uint32_t workers, struct fp_sandbox **ret_sandbox)
{
	size_t watches = (size_t)workers * FP_LISTENERS;
	struct fp_sandbox *sandbox = calloc(1, sizeof(*sandbox) + watches * sizeof(struct fp_watch));
	if (!sandbox)
		return -ENOMEM;
	sandbox->cookie = pod->netns_cookie;
	sandbox->listener[FP_LISTENER4] = sandbox->listener[FP_LISTENER6] = -1;
	sandbox->netns_fd = fcntl(pod->netns_fd, F_DUPFD_CLOEXEC, 0);
	int rc = sandbox->netns_fd < 0 ? -errno : 0;
	struct opening opening = { .sandbox = sandbox, .v6 = pod->flags & TG_POD_V6_CAPTURE };
	if (!rc)
		rc = fp_in_netns(sandbox->netns_fd, open_inside, &opening);
	if (rc) {
		fp_sandbox_free(sandbox);
		return rc;
	}
	for (size_t i = 0; i < watches; i++)
		fp_watch_init(&sandbox->watches[i], sandbox, sandbox->listener[i % FP_LISTENERS]);
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
