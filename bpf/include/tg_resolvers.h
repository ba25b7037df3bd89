/* Rows of tg_resolvers and the sockets of the node's DNS, for the programs that need them. */
#ifndef TG_RESOLVERS_H
#define TG_RESOLVERS_H
#include "tg_maps.h"
#include "../core/dns_core.h"

#define TG_SOCK_DGRAM 2

static __always_inline const struct tg_dns *tg_dns_row(void)
{
	uint32_t zero = 0;

	return bpf_map_lookup_elem(&tg_dns, &zero);
}

/* The port of the socket where the node's DNS listens in a pod; 0 if there is none. */
static __always_inline uint16_t tg_dns_port_be(uint64_t cookie, uint32_t protocol, int v4)
{
	struct tg_dns_socket_key key = { .netns_cookie = cookie, .protocol = protocol, .v6 = !v4 };
	struct bpf_sock *listener = bpf_map_lookup_elem(&tg_dns_sockets, &key);
	uint16_t port_be;

	if (!listener)
		return 0;
	port_be = TG_BE16((uint16_t)listener->src_port);
	bpf_sk_release(listener);
	return port_be;
}

/* The resolver that an address of the pod's loopback stands for; NULL if it stands for none. */
static __always_inline const struct tg_resolver *tg_resolver_at(uint64_t cookie, const struct tg_addr *addr)
{
	struct tg_resolver_key key = {
		.netns_cookie = cookie,
		.slot = tg_dns_slot_of(addr),
		.v6 = !tg_addr_is_v4(addr),
	};

	return key.slot < TG_DNS_SLOTS ? bpf_map_lookup_elem(&tg_resolvers, &key) : 0;
}

/* The slot of a resolver, given out if need be. TG_DNS_SLOTS if those in which it may be belong to others. */
static __always_inline uint32_t tg_slot_for(uint64_t cookie, const struct tg_addr *resolver)
{
	struct tg_resolver_key key = { .netns_cookie = cookie, .v6 = !tg_addr_is_v4(resolver) };
	const struct tg_resolver *row;
	struct tg_resolver mine;

	tg_addr_copy(&mine.addr, resolver);
#pragma unroll
	for (uint32_t n = 0; n < TG_DNS_PROBES; n++) {
		key.slot = tg_dns_slot(resolver, n);
		row = bpf_map_lookup_elem(&tg_resolvers, &key);
		if (!row) {
			/* another CPU may have given it out meanwhile */
			if (!bpf_map_update_elem(&tg_resolvers, &key, &mine, BPF_NOEXIST))
				return key.slot;
			row = bpf_map_lookup_elem(&tg_resolvers, &key);
		}
		if (row && tg_addr_equal(&row->addr, resolver))
			return key.slot;
	}
	return TG_DNS_SLOTS;
}

/* What becomes of something for port 53: the reason, or TG_REASON_COUNT if it is not for us. Only with TG_REDIRECT_DNS `to`
 * and `port_be` are set. */
static __always_inline uint32_t tg_dns_route(uint64_t cookie, const struct tg_connect_in *in, uint32_t protocol,
					     const struct tg_settings *settings, const struct tg_pod *pod,
					     struct tg_addr *to, uint16_t *port_be)
{
	const struct tg_dns *dns;
	int v4 = tg_addr_is_v4(&in->dst);
	uint32_t slot;

	if (in->dst_port_be != TG_BE16(TG_DNS_PORT) || !settings || !pod)
		return TG_REASON_COUNT;
	dns = tg_dns_row();
	if (!dns || !tg_dns_screen(in, protocol, settings, dns, pod))
		return TG_REASON_COUNT;
	*port_be = tg_dns_port_be(cookie, protocol, v4);
	if (!*port_be || !tg_dns_is_well(dns, bpf_ktime_get_ns()))
		return TG_PASS_DNS_AWAY;
	slot = tg_slot_for(cookie, &in->dst);
	if (slot >= TG_DNS_SLOTS)
		return TG_PASS_DNS_SLOTS;
	tg_addr_of_slot(to, slot, v4);
	return TG_REDIRECT_DNS;
}
#endif
