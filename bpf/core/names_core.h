/* What getpeername, getsockname and accept say about captured connections. */
#ifndef TG_NAMES_CORE_H
#define TG_NAMES_CORE_H
#include "../include/tg_reason.h"
#include "addr_core.h"
#include "core_io.h"

tg_inline void tg_name_show(struct tg_name_out *out, uint32_t reason, const struct tg_addr *addr, uint16_t port_be)
{
	out->reason = reason;
	out->port_be = port_be;
	out->pad = 0;
	tg_addr_copy(&out->addr, addr);
}

tg_inline void tg_name_keep(struct tg_name_out *out)
{
	__builtin_memset(out, 0, sizeof(*out));
	out->reason = TG_REASON_COUNT;
}

/* Application, getpeername: the dialled address. `kernel` is what the kernel would say; `dialled` NULL = not captured.
 * A socket may be disconnected (AF_UNSPEC) and used again, so only a capture address is ever replaced. */
tg_inline void tg_name_peer(struct tg_name_out *out, const struct tg_addr *kernel, const struct tg_flow *dialled)
{
	if (!dialled || !tg_addr_is_capture(kernel))
		return tg_name_keep(out);
	tg_name_show(out, TG_NAME_PEER_RESTORED, &dialled->dst, dialled->dst_port_be);
}

/* Application, getsockname of a captured connection: the address that is shown as the client's, and the real port. */
tg_inline void tg_name_own_of(struct tg_name_out *out, const struct tg_addr *kernel, const struct tg_addr *client)
{
	if (tg_addr_is_any(kernel) || tg_addr_is_zero(client))
		return tg_name_keep(out);
	if (!tg_addr_is_loopback(kernel) && !tg_addr_is_capture(kernel))
		return tg_name_keep(out);
	tg_name_show(out, TG_NAME_SOCK_RESTORED, client, 0);
}

/* The same by what was dialled; NULL = not captured. */
tg_inline void tg_name_own(struct tg_name_out *out, const struct tg_addr *kernel, const struct tg_flow *dialled)
{
	if (!dialled)
		return tg_name_keep(out);
	tg_name_own_of(out, kernel, &dialled->client);
}

/* Whoever accepts what the relay let pass: for whom it called. NULL, nobody, or the relay's own end = what the kernel has. */
tg_inline void tg_name_caller(struct tg_name_out *out, const struct tg_caller *called)
{
	if (!called || !called->netns_cookie || tg_addr_is_zero(&called->client))
		return tg_name_keep(out);
	tg_name_show(out, TG_NAME_CALLER_SHOWN, &called->client, called->client_port_be);
}

/* Envoy, accept and getpeername on what it accepted: the client pod's address and the client's real port, but for the one
 * that says that a range led here: Envoy has no other way to tell these connections from all others. kernel, port_be: what
 * the kernel would say. */
tg_inline void tg_name_client(struct tg_name_out *out, const struct tg_flow *flow, const struct tg_addr *kernel,
			      uint16_t port_be)
{
	const uint16_t mark_be = TG_BE16(TG_RANGE_CLIENT_PORT);
	uint16_t shown_be = 0;

	if (!flow)
		return tg_name_keep(out);
	if (flow->flags & TG_FLOW_RANGE)
		shown_be = mark_be;
	else if (port_be == mark_be)
		shown_be = TG_BE16(TG_RANGE_CLIENT_PORT + 1);
	if (tg_addr_is_zero(&flow->client) && !shown_be)
		return tg_name_keep(out);
	tg_name_show(out, TG_NAME_CLIENT_SHOWN, tg_addr_is_zero(&flow->client) ? kernel : &flow->client, shown_be);
}
#endif
