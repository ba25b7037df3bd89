#include "dial.h"

#include <netinet/tcp.h>
#include <unistd.h>

#include "addr.h"
#include "flow.h"
#include "list.h"
#include "tcp.h"
#include "wishes.h"

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

static int set_keepalive(int fd, const struct fp_keepalive *wanted)
{
	const struct {
		int option;
		uint32_t value;
	} options[] = {
		{ TCP_KEEPIDLE, wanted->time_s },
		{ TCP_KEEPINTVL, wanted->interval_s },
		{ TCP_KEEPCNT, wanted->probes },
	};
	for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
		int value = (int)options[i].value;
		if (!value)
			continue;
		if (setsockopt(fd, IPPROTO_TCP, options[i].option, &value, sizeof(value)))
			return -errno;
		fp_tcp_keep_alive(fd); /* the system's two hours can begin a second later, see conn.c */
	}
	return 0;
}

/* A socket that is connecting, opened in the pod's netns, or a negative errno. */
static int start_connect(struct fp_netns_visit *visit, const struct fp_origin *from, const struct tg_addr *addr,
			 uint16_t port_be)
{
	union fp_sockaddr name;
	socklen_t length = fp_sockaddr_make(addr, port_be, &name);
	int one = 1;
	int rc = fp_netns_enter(visit, from->netns_fd);
	if (rc)
		return rc;
	int fd = socket(name.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one)))
		rc = -errno;
	if (from->bytes_wait)
		fp_tcp_hold_ack(fd);
	if (from->wishes.set)
		fp_wishes_apply(fd, &from->wishes);
	if (!rc) /* a rule is about this connection, the application spoke of its own */
		rc = set_keepalive(fd, &from->keepalive);
	/* An application's choice of an IPv4 source says nothing about IPv6 endpoints, and the other way round. */
	if (!rc && !fp_addr_is_unset(&from->source) && fp_addr_is_v4(&from->source) == fp_addr_is_v4(addr))
		rc = bind_source(fd, &from->source);
	if (!rc && !fp_addr_is_unset(&from->called_for))
		rc = fp_flow_call_for(from->called_fd, fd, &from->called_for, from->called_for_port_be);
	if (!rc && connect(fd, &name.sa, length) && errno != EINPROGRESS)
		rc = -errno;
	if (rc) {
		close(fd);
		return rc;
	}
	fp_plain_narrow(fd);
	return fd;
}

static int dial_plain(struct fp_dialer *base, const struct fp_origin *from, const struct tg_addr *addr,
		      uint16_t port_be, struct fp_stream **ret_stream)
{
	struct fp_plain_dialer *dialer = fp_container(base, struct fp_plain_dialer, dialer);
	int fd = start_connect(dialer->visit, from, addr, port_be);
	if (fd < 0)
		return fd;
	/* Who listens on this machine, in whatever namespace, has answered before connect() is back, which says EINPROGRESS
	 * all the same. Bytes that wait for the connection leave then in this turn. */
	int rc = fp_plain_open(dialer->plains, fd, from->bytes_wait && fp_tcp_is_open(fd), ret_stream);
	if (!rc)
		fp_plain_dialled(*ret_stream, from->bytes_wait);
	return rc;
}

void fp_plain_dialer_init(struct fp_plain_dialer *dialer, struct fp_netns_visit *visit, struct fp_plains *plains)
{
	*dialer = (struct fp_plain_dialer){ .dialer.dial = dial_plain, .visit = visit, .plains = plains };
}
