#include "tcp.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static void set(int fd, int level, int option, int value)
{
	(void)setsockopt(fd, level, option, &value, sizeof(value));
}

int fp_tcp_error(int fd)
{
	int error = 0;
	socklen_t length = sizeof(error);
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
	return error;
}

bool fp_tcp_at_mark(int fd)
{
	int at = 0;
	return !ioctl(fd, SIOCATMARK, &at) && at;
}

/* Whether of these events this one has happened, and no other that is always told. */
static bool is_only(int fd, short events, short only)
{
	struct pollfd asked = { .fd = fd, .events = events };
	return poll(&asked, 1, 0) == 1 && asked.revents == only;
}

bool fp_tcp_is_open(int fd)
{
	return is_only(fd, POLLOUT, POLLOUT);
}

bool fp_tcp_has_bytes(int fd)
{
	return is_only(fd, POLLIN | POLLPRI | POLLRDHUP, POLLIN);
}

void fp_tcp_hold_ack(int fd)
{
	set(fd, IPPROTO_TCP, TCP_QUICKACK, 0);
}

void fp_tcp_ack_at_once(int fd)
{
	set(fd, IPPROTO_TCP, TCP_QUICKACK, 1);
}

void fp_tcp_send_at_once(int fd)
{
	set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

int fp_tcp_bound_unsent(int fd, int bytes)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, sizeof(bytes)) ? -errno : 0;
}

void fp_tcp_keep_alive(int fd)
{
	set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}

void fp_tcp_probe(int fd, int seconds)
{
	fp_tcp_keep_alive(fd);
	set(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds);
	set(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds);
}
