#include "wishes.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static void set(int fd, int level, int option, uint32_t value)
{
	int number = (int)value;
	(void)setsockopt(fd, level, option, &number, sizeof(number));
}

static void mark(int fd, uint32_t tos)
{
	int family = AF_INET;
	socklen_t size = sizeof(family);
	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size);
	if (family == AF_INET)
		set(fd, IPPROTO_IP, IP_TOS, tos);
	else
		set(fd, IPPROTO_IPV6, IPV6_TCLASS, tos);
}

void fp_wishes_apply(int fd, const struct tg_wishes *wishes)
{
	if (wishes->keepalive) {
		set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
		if (wishes->set & TG_WISH_IDLE)
			set(fd, IPPROTO_TCP, TCP_KEEPIDLE, wishes->idle_s);
		if (wishes->set & TG_WISH_INTERVAL)
			set(fd, IPPROTO_TCP, TCP_KEEPINTVL, wishes->interval_s);
		if (wishes->set & TG_WISH_PROBES)
			set(fd, IPPROTO_TCP, TCP_KEEPCNT, wishes->probes);
	}
	if (wishes->set & TG_WISH_USER_TIMEOUT)
		set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, wishes->user_timeout_ms);
	if (wishes->set & TG_WISH_TOS)
		mark(fd, wishes->tos);
}
