/* What becomes of a connect(): screen first (cheap, no table of destinations), then route.
 * Pure: the hook brings rows in and carries the verdict out. Vectors: tests/vectors/connect. */
#ifndef TG_CONNECT_CORE_H
#define TG_CONNECT_CORE_H
#include "../include/tg_reason.h"
#include "addr_core.h"
#include "core_io.h"

/* The reason why this connect() is none of our business, or TG_REASON_COUNT to go on with tg_connect_route.
 * pod is NULL when the socket's netns is no enrolled pod. */
tg_inline uint32_t tg_connect_screen(const struct tg_connect_in *in, const struct tg_settings *settings,
				     const struct tg_pod *pod)
{
	if (!pod)
		return TG_PASS_NOT_ENROLLED;
	if (in->cgroup == settings->agent_cgroup || in->cgroup == settings->envoy_cgroup)
		return TG_PASS_EXEMPT_CGROUP;
	if (in->protocol != TG_PROTOCOL_TCP)
		return TG_PASS_NOT_TCP;
	if (tg_addr_is_capture(&in->dst))
		return TG_DENY_CAPTURE_ADDRESS;
	if (tg_addr_is_loopback(&in->dst))
		return TG_PASS_LOOPBACK;
	if (in->bound_dev_if)
		return TG_PASS_BOUND_DEVICE;
	return TG_REASON_COUNT;
}

/* The rows that may decide about a destination, the first that there is. */
enum tg_row {
	TG_ROW_PORT,     /* of the address and port, for pods of this scope */
	TG_ROW_ADDRESS,  /* of every port of the address, for everybody */
	TG_ROW_ELSEWHERE /* of the port of any other address, for pods of this scope that may reach the registry only */
};

tg_inline void tg_dest_key_of(struct tg_dest_key *key, const struct tg_connect_in *in, uint32_t scope, enum tg_row row)
{
	if (row == TG_ROW_ELSEWHERE)
		__builtin_memset(&key->addr, 0, sizeof(key->addr));
	else
		tg_addr_copy(&key->addr, &in->dst);
	key->port_be = row == TG_ROW_ADDRESS ? 0 : in->dst_port_be;
	key->protocol = (uint8_t)in->protocol;
	key->scope = row == TG_ROW_ADDRESS ? 0 : (uint8_t)scope;
}

/* What a row of tg_ranges is looked for by, if none of the above is there but for the last. */
tg_inline void tg_range_key_of(struct tg_range_key *key, const struct tg_connect_in *in, uint32_t scope)
{
	key->bits = TG_RANGE_BITS + 8 * sizeof(key->addr);
	key->port_be = in->dst_port_be;
	key->protocol = (uint8_t)in->protocol;
	key->scope = (uint8_t)scope;
	tg_addr_copy(&key->addr, &in->dst);
}

tg_inline void tg_connect_verdict(struct tg_connect_out *out, uint32_t reason)
{
	__builtin_memset(out, 0, sizeof(*out));
	out->reason = reason;
	out->action = reason == TG_DENY_CAPTURE_ADDRESS || reason == TG_DENY_STATE || reason == TG_DENY_NO_ENDPOINT ||
				      reason == TG_DENY_NOT_IN_REGISTRY ?
			      TG_ACTION_DENY :
			      TG_ACTION_PASS;
}

/* Nobody serves it for this pod. */
tg_inline void tg_connect_unknown(struct tg_connect_out *out, const struct tg_pod *pod, uint32_t reason)
{
	tg_connect_verdict(out, pod->flags & TG_POD_REGISTRY_ONLY ? TG_DENY_NOT_IN_REGISTRY : reason);
}

/* The address that listeners and the application itself should see as the client's. Loopback is what the kernel would
 * choose towards a capture address, never what reaches a peer. All zero when the pod has no address of that family.
 * Envoy tells servers this address in a header, and no network checks it on the way: whoever may put a neighbour's
 * address on its own lo and bind it would speak in the neighbour's name. So Envoy is told what the agent enrolled. */
tg_inline void tg_connect_client(struct tg_addr *client, const struct tg_connect_in *in, const struct tg_pod *pod,
				 uint32_t tier)
{
	if (tier != TG_TIER_ENVOY && !tg_addr_is_any(&in->bound) && !tg_addr_is_loopback(&in->bound) &&
	    !tg_addr_is_capture(&in->bound))
		tg_addr_copy(client, &in->bound);
	else
		tg_addr_copy(client, tg_addr_is_v4(&in->dst) ? &pod->ip4 : &pod->ip6);
}

/* For a connect() that passed the screen. dest is the most specific row for in->dst, NULL if there is none. */
tg_inline void tg_connect_route(struct tg_connect_out *out, const struct tg_connect_in *in, const struct tg_pod *pod,
				const struct tg_dest *dest)
{
	int v4 = tg_addr_is_v4(&in->dst);
	uint16_t port_be;

	if (!dest)
		return tg_connect_unknown(out, pod, TG_PASS_UNKNOWN);
	if (dest->tier == TG_TIER_DIRECT)
		return tg_connect_verdict(out, TG_PASS_WORKLOAD);
	if (dest->tier == TG_TIER_REFUSE)
		return tg_connect_verdict(out, TG_DENY_NO_ENDPOINT);
	if (dest->tier != TG_TIER_FASTPATH && dest->tier != TG_TIER_ENVOY)
		return tg_connect_unknown(out, pod, TG_PASS_UNKNOWN);
	if (!v4 && !(pod->flags & TG_POD_V6_CAPTURE)) {
		if (in->elsewhere)
			return tg_connect_verdict(out, TG_DENY_NOT_IN_REGISTRY);
		return tg_connect_verdict(out, TG_PASS_NO_V6_CAPTURE);
	}
	if (dest->tier == TG_TIER_FASTPATH)
		port_be = v4 ? pod->fastpath4_be : pod->fastpath6_be;
	else
		port_be = v4 ? pod->envoy4_be : pod->envoy6_be;
	if (!port_be) {
		if (in->elsewhere)
			return tg_connect_verdict(out, TG_DENY_NOT_IN_REGISTRY);
		return tg_connect_verdict(out, TG_PASS_NO_LISTENER);
	}
	tg_connect_verdict(out, dest->tier == TG_TIER_FASTPATH ? TG_REDIRECT_FASTPATH : TG_REDIRECT_ENVOY);
	out->action = TG_ACTION_REDIRECT;
	if (in->spread)
		tg_addr_of_destination(&out->to, dest->tier, &in->dst, in->dst_port_be);
	else
		tg_addr_of_tier(&out->to, dest->tier, v4);
	out->to_port_be = port_be;
	tg_addr_copy(&out->flow.dst, &in->dst);
	tg_connect_client(&out->flow.client, in, pod, dest->tier);
	out->flow.dst_port_be = in->dst_port_be;
	out->flow.tier = dest->tier;
	out->flow.service = dest->service;
	out->flow.flags = in->elsewhere ? TG_FLOW_ELSEWHERE : in->range ? TG_FLOW_RANGE : 0;
}
#endif
