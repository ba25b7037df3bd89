#include "dial.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "addr.h"
#include "worker.h"

enum fp_reason fp_dial_reason(int error)
{
	switch (error) {
	case ECONNREFUSED:
		return FP_CLOSE_CONNECT_REFUSED;
	case ETIMEDOUT:
		return FP_CLOSE_CONNECT_TIMEOUT;
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ENOBUFS:
		return FP_CLOSE_NO_MEMORY;
	default:
		return FP_CLOSE_CONNECT_FAILED;
	}
}

static int bind_source(int fd, const struct tg_addr *source)
{
	union fp_sockaddr name;
	socklen_t length = fp_sockaddr_make(source, 0, &name);
	int one = 1;
	/* Leave the port to connect(): chosen at bind time it would have to be unique per address instead of per peer.
	 * The option is of level IP for both families. */
	if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) || bind(fd, &name.sa, length))
		return -errno;
	return 0;
}

/* A socket that is connecting, opened in the pod's netns, or a negative errno. */
static int start_connect(struct fp_worker *w, const struct fp_conn *conn, const struct fp_endpoint *endpoint)
{
	union fp_sockaddr name;
	socklen_t length = fp_sockaddr_make(&endpoint->addr, endpoint->port_be, &name);
	int one = 1;
	int rc = fp_netns_enter(&w->visit, conn->sandbox->netns_fd);
	if (rc)
		return rc;
	int fd = socket(name.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) ||
	    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one)))
		rc = -errno;
	/* An application's choice of an IPv4 source says nothing about IPv6 endpoints, and the other way round. */
	if (!rc && !fp_addr_is_unset(&conn->bind_to) &&
	    fp_addr_is_v4(&conn->bind_to) == fp_addr_is_v4(&endpoint->addr))
		rc = bind_source(fd, &conn->bind_to);
	if (!rc && connect(fd, &name.sa, length) && errno != EINPROGRESS)
		rc = -errno;
	if (rc) {
		close(fd);
		return rc;
	}
	return fd;
}

static int attempt(struct fp_worker *w, struct fp_conn *conn, const struct fp_endpoint *endpoint)
{
	struct fp_side *server = &conn->side[FP_SERVER];
	int fd = start_connect(w, conn, endpoint);
	if (fd < 0)
		return fd;
	*server = (struct fp_side){ .fd = fd };
	conn->state = FP_CONNECTING;
	conn->deadline_ns = fp_clock_ns() + (uint64_t)w->shared->config.connect_timeout_ms * 1000000u;
	fp_list_append(&w->dialling, &conn->due);
	/* Both directions at once and edge-triggered: the only epoll_ctl this socket ever costs. */
	return fp_worker_watch(w, fd, conn, FP_TAG_SERVER, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

void fp_dial_abandon(struct fp_worker *w, struct fp_conn *conn)
{
	(void)w;
	if (conn->side[FP_SERVER].fd >= 0)
		close(conn->side[FP_SERVER].fd);
	conn->side[FP_SERVER].fd = -1;
	fp_list_remove(&conn->due);
	/* Release: the target may be freed once the control thread sees zero. */
	atomic_fetch_sub_explicit(&conn->tried[conn->tried_count - 1]->live, 1, memory_order_release);
}

int fp_dial(struct fp_worker *w, struct fp_conn *conn, enum fp_reason failure)
{
	/* Looked up again for every attempt: the endpoint that refused may be why there is a newer image. */
	struct fp_image *image = fp_worker_image(w);
	struct fp_service *service = image ? fp_image_find(image, &conn->event.dst, conn->event.dst_port_be) : NULL;
	if (!service)
		return conn->tried_count ? (int)failure : FP_CLOSE_NO_SERVICE;
	conn->event.service = service->number;
	while (conn->tried_count < FP_ATTEMPTS) {
		const struct fp_endpoint *endpoint =
			fp_lb_pick(image, service, &w->random, conn->tried, conn->tried_count);
		if (!endpoint)
			return conn->tried_count ? (int)failure : FP_CLOSE_NO_ENDPOINT;
		conn->event.endpoint = endpoint->addr;
		conn->event.endpoint_port_be = endpoint->port_be;
		conn->tried[conn->tried_count++] = endpoint->target;
		atomic_fetch_add_explicit(&endpoint->target->live, 1, memory_order_relaxed);
		int rc = attempt(w, conn, endpoint);
		if (rc == 0)
			return FP_DIALLING;
		fp_dial_abandon(w, conn);
		failure = fp_dial_reason(-rc);
		if (failure == FP_CLOSE_NO_MEMORY)
			break; /* another endpoint would not help */
	}
	return (int)failure;
}
