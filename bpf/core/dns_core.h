/* Questions to resolvers: which are the node's DNS's business, and by which address each resolver is known to it.
 * A resolver of a pod has a slot, and the slot is an address of the pod's loopback: the answer comes from there, so that
 * who has only an address (a server that was asked, a hook that shows the resolver's) finds the resolver without a record
 * of each question. */
#ifndef TG_DNS_CORE_H
#define TG_DNS_CORE_H
#include "../include/tg_reason.h"
#include "addr_core.h"
#include "core_io.h"

/* Inside TG_DNS4_PREFIX (a /16), or a slot of IPv6. */
tg_inline int tg_addr_is_dns(const struct tg_addr *addr)
{
	const struct tg_addr dns4 = TG_DNS4, fastpath6 = TG_CAPTURE6_FASTPATH;

	if (tg_addr_is_v4(addr))
		return !((tg_addr_word(addr, 3) ^ tg_addr_word(&dns4, 3)) & TG_BE32(0xffff0000U));
	return tg_addr_word(addr, 0) == tg_addr_word(&fastpath6, 0) &&
	       tg_addr_word(addr, 1) == tg_addr_word(&fastpath6, 1) && tg_addr_word(addr, 2) == TG_BE32(TG_DNS_HALF);
}

/* The slot of an address, counted from 0; TG_DNS_SLOTS if it is none. */
tg_inline uint32_t tg_dns_slot_of(const struct tg_addr *addr)
{
	uint32_t host = TG_BE32(tg_addr_word(addr, 3));

	if (!tg_addr_is_dns(addr))
		return TG_DNS_SLOTS;
	if (tg_addr_is_v4(addr))
		host &= 0xffffU;
	return host >= 1 && host <= TG_DNS_SLOTS ? host - 1 : TG_DNS_SLOTS;
}

tg_inline void tg_addr_of_slot(struct tg_addr *to, uint32_t slot, int v4)
{
	const struct tg_addr dns4 = TG_DNS4, fastpath6 = TG_CAPTURE6_FASTPATH;

	if (v4) {
		tg_addr_copy(to, &dns4);
		((tg_word *)to->ip)[3] |= TG_BE32(slot + 1);
	} else {
		tg_addr_copy(to, &fastpath6);
		((tg_word *)to->ip)[2] = TG_BE32(TG_DNS_HALF);
		((tg_word *)to->ip)[3] = TG_BE32(slot + 1);
	}
}

/* The n-th slot in which a resolver may be, n below TG_DNS_PROBES. */
tg_inline uint32_t tg_dns_slot(const struct tg_addr *resolver, uint32_t n)
{
	return (tg_addr_hash(resolver, 0) + n) & (TG_DNS_SLOTS - 1);
}

tg_inline int tg_addr_equal(const struct tg_addr *a, const struct tg_addr *b)
{
	return tg_addr_word(a, 0) == tg_addr_word(b, 0) && tg_addr_word(a, 1) == tg_addr_word(b, 1) &&
	       tg_addr_word(a, 2) == tg_addr_word(b, 2) && tg_addr_word(a, 3) == tg_addr_word(b, 3);
}

/* Whether what is sent there may be a question for the node's DNS; protocol as the socket has it. */
tg_inline int tg_dns_screen(const struct tg_connect_in *in, uint32_t protocol, const struct tg_settings *settings,
			    const struct tg_dns *dns, const struct tg_pod *pod)
{
	if (in->dst_port_be != TG_BE16(TG_DNS_PORT) || (protocol != TG_PROTOCOL_UDP && protocol != TG_PROTOCOL_TCP))
		return 0;
	if (in->cgroup == settings->agent_cgroup || in->cgroup == settings->envoy_cgroup || in->cgroup == dns->cgroup)
		return 0;
	if (tg_addr_is_loopback(&in->dst) || tg_addr_is_capture(&in->dst) || in->bound_dev_if)
		return 0;
	if (tg_addr_is_v4(&in->dst))
		return 1;
	/* A link-local address is no address without its link, which nobody tells a hook. */
	return (pod->flags & TG_POD_V6_CAPTURE) && (TG_BE32(tg_addr_word(&in->dst, 0)) >> 22) != 0x3fa;
}

/* Whether the node's DNS was well a moment ago. */
tg_inline int tg_dns_is_well(const struct tg_dns *dns, uint64_t now_ns)
{
	return dns->beat_ns && now_ns - dns->beat_ns <= (uint64_t)TG_DNS_STALE_MS * 1000000;
}
#endif
