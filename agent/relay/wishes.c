#include "wishes.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static void set(int fd, int level, int option, uint32_t value)
{
	int number = (int)value;
	(void)setsockopt(fd, level, option, &number, sizeof(number));
}

/* What is said of each packet is another option for each family. */
static void mark(int fd, const struct tg_wishes *wishes)
{
	const uint32_t hops = wishes->hops ? wishes->hops : UINT32_MAX;
	int family = AF_INET;
	socklen_t size = sizeof(family);
	getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size);
	const bool v4 = family == AF_INET;
	if (wishes->set & TG_WISH_TOS)
		set(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS, wishes->tos);
	if (wishes->set & TG_WISH_HOPS)
		set(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TTL : IPV6_UNICAST_HOPS, hops);
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
	if (wishes->set & TG_WISH_SEGMENT)
		set(fd, IPPROTO_TCP, TCP_MAXSEG, wishes->max_segment);
	if (wishes->set & TG_WISH_SYN_RETRIES)
		set(fd, IPPROTO_TCP, TCP_SYNCNT, wishes->syn_retries);
	if (wishes->set & (TG_WISH_TOS | TG_WISH_HOPS))
		mark(fd, wishes);
}
