/* Socket options of an application that are meant for the way to the server, and so for the relay's own socket. */
#ifndef TG_WISHES_CORE_H
#define TG_WISHES_CORE_H
#include "../include/tg_abi.h"
#include "core_io.h"

/* As in asm-generic/socket.h, linux/tcp.h, linux/in.h, linux/in6.h. */
#define TG_SOL_IP 0
#define TG_SOL_SOCKET 1
#define TG_SOL_TCP 6
#define TG_SOL_IPV6 41
#define TG_SO_KEEPALIVE 9
#define TG_TCP_KEEPIDLE 4
#define TG_TCP_KEEPINTVL 5
#define TG_TCP_KEEPCNT 6
#define TG_TCP_USER_TIMEOUT 18
#define TG_IP_TOS 1
#define TG_IPV6_TCLASS 67

/* The bit of an option, 0 for one that is not carried. */
tg_inline uint32_t tg_wish_of(uint32_t level, uint32_t option)
{
	if (level == TG_SOL_SOCKET)
		return option == TG_SO_KEEPALIVE ? TG_WISH_KEEPALIVE : 0;
	if (level == TG_SOL_TCP)
		return option == TG_TCP_KEEPIDLE      ? TG_WISH_IDLE :
		       option == TG_TCP_KEEPINTVL     ? TG_WISH_INTERVAL :
		       option == TG_TCP_KEEPCNT       ? TG_WISH_PROBES :
		       option == TG_TCP_USER_TIMEOUT  ? TG_WISH_USER_TIMEOUT :
							0;
	if (level == TG_SOL_IP)
		return option == TG_IP_TOS ? TG_WISH_TOS : 0;
	return level == TG_SOL_IPV6 && option == TG_IPV6_TCLASS ? TG_WISH_TOS : 0;
}

/* Whether the kernel takes such a value: the hook runs before it says so (tcp(7); net/ipv4/tcp.c). */
tg_inline int tg_wish_is_valid(uint32_t wish, uint32_t value)
{
	if (wish == TG_WISH_IDLE || wish == TG_WISH_INTERVAL)
		return value - 1 < 32767;
	if (wish == TG_WISH_PROBES)
		return value - 1 < 127;
	if (wish == TG_WISH_TOS)
		return value <= 255;
	return wish == TG_WISH_KEEPALIVE || value <= 0x7fffffff;
}

tg_inline void tg_wish_set(struct tg_wishes *wishes, uint32_t wish, uint32_t value)
{
	wishes->set |= wish;
	if (wish == TG_WISH_KEEPALIVE)
		wishes->keepalive = value != 0;
	else if (wish == TG_WISH_IDLE)
		wishes->idle_s = value;
	else if (wish == TG_WISH_INTERVAL)
		wishes->interval_s = value;
	else if (wish == TG_WISH_PROBES)
		wishes->probes = value;
	else if (wish == TG_WISH_USER_TIMEOUT)
		wishes->user_timeout_ms = value;
	else
		wishes->tos = value;
}
#endif
