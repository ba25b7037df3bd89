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
#define TG_TCP_MAXSEG 2
#define TG_TCP_KEEPIDLE 4
#define TG_TCP_KEEPINTVL 5
#define TG_TCP_KEEPCNT 6
#define TG_TCP_SYNCNT 7
#define TG_TCP_USER_TIMEOUT 18
#define TG_IP_TOS 1
#define TG_IP_TTL 2
#define TG_IPV6_UNICAST_HOPS 16
#define TG_IPV6_TCLASS 67
#define TG_SYSTEMS_OWN 0xffffffffU /* -1: what the system says */

/* The bit of an option, 0 for one that is not carried. */
tg_inline uint32_t tg_wish_of(uint32_t level, uint32_t option)
{
	if (level == TG_SOL_SOCKET)
		return option == TG_SO_KEEPALIVE ? TG_WISH_KEEPALIVE : 0;
	if (level == TG_SOL_TCP)
		return option == TG_TCP_KEEPIDLE     ? TG_WISH_IDLE :
		       option == TG_TCP_KEEPINTVL    ? TG_WISH_INTERVAL :
		       option == TG_TCP_KEEPCNT      ? TG_WISH_PROBES :
		       option == TG_TCP_USER_TIMEOUT ? TG_WISH_USER_TIMEOUT :
		       option == TG_TCP_MAXSEG       ? TG_WISH_SEGMENT :
		       option == TG_TCP_SYNCNT       ? TG_WISH_SYN_RETRIES :
						       0;
	if (level == TG_SOL_IP)
		return option == TG_IP_TOS ? TG_WISH_TOS : option == TG_IP_TTL ? TG_WISH_HOPS : 0;
	if (level == TG_SOL_IPV6)
		return option == TG_IPV6_TCLASS ? TG_WISH_TOS : option == TG_IPV6_UNICAST_HOPS ? TG_WISH_HOPS : 0;
	return 0;
}

/* Options that may be given as one byte instead of four (ip(7)): those of level IP. */
tg_inline int tg_wish_may_be_short(uint32_t level)
{
	return level == TG_SOL_IP;
}

/* Whether the kernel takes such a value: the hook runs before it says so (tcp(7); net/ipv4/tcp.c). */
tg_inline int tg_wish_is_valid(uint32_t wish, uint32_t value)
{
	if (wish == TG_WISH_IDLE || wish == TG_WISH_INTERVAL)
		return value - 1 < 32767;
	if (wish == TG_WISH_PROBES || wish == TG_WISH_SYN_RETRIES)
		return value - 1 < 127;
	if (wish == TG_WISH_SEGMENT)
		return !value || value - 88 <= 32767 - 88;
	if (wish == TG_WISH_TOS)
		return value <= 255;
	if (wish == TG_WISH_HOPS)
		return value == TG_SYSTEMS_OWN || value - 1 < 255;
	return wish == TG_WISH_KEEPALIVE || value <= 0x7fffffff;
}

/* wish: one bit, value: a valid one */
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
	else if (wish == TG_WISH_SEGMENT)
		wishes->max_segment = (uint16_t)value;
	else if (wish == TG_WISH_SYN_RETRIES)
		wishes->syn_retries = (uint8_t)value;
	else if (wish == TG_WISH_HOPS)
		wishes->hops = value == TG_SYSTEMS_OWN ? 0 : (uint8_t)value;
	else
		wishes->tos = value;
}
#endif
