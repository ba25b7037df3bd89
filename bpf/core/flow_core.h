/* Records of captured connections: their keys, and when they go. */
#ifndef TG_FLOW_CORE_H
#define TG_FLOW_CORE_H
#include "../include/tg_reason.h"
#include "addr_core.h"
#include "core_io.h"

/* Key of the record of a connection. Returns 0 and leaves an all-zero key unless `listener` is a capture address. */
tg_inline int tg_flow_key_of(struct tg_flow_key *key, uint64_t netns_cookie, const struct tg_addr *client,
			     uint16_t client_port_be, const struct tg_addr *listener, uint16_t listener_port_be)
{
	uint32_t tier = tg_addr_tier(listener);

	__builtin_memset(key, 0, sizeof(*key));
	if (!tier)
		return 0;
	key->netns_cookie = netns_cookie;
	tg_addr_copy(&key->src, client);
	key->src_port_be = client_port_be;
	key->listener_port_be = listener_port_be;
	key->tier = tier | (tg_addr_spread(listener) << 8);
	return 1;
}

/* What tells a connection from an earlier one of the same 4-tuple: the lower half of its socket's cookie, never 0. */
tg_inline uint32_t tg_flow_id(uint64_t socket_cookie)
{
	uint32_t id = (uint32_t)socket_cookie;

	return id ? id : 1;
}

/* Whether the record must outlive the client's socket that goes from old_state (enum of tcp_states.h) to CLOSE.
 * After close() a client's socket ends in FIN_WAIT2 as soon as its FIN is acknowledged (a stub stays), although the
 * listener may not even have accepted the connection: then the accepted socket takes the record with it. Every other way means that the other
 * side has finished, or that the connection was reset. */
tg_inline int tg_flow_outlives_client(uint32_t old_state)
{
	return old_state == 5 /* BPF_TCP_FIN_WAIT2 */;
}

/* Key of what is known of a caller: its own end, and what it calls. */
tg_inline void tg_caller_key_of(struct tg_caller_key *key, const struct tg_addr *src, uint16_t src_port_be,
				const struct tg_addr *dst, uint16_t dst_port_be)
{
	tg_addr_copy(&key->src, src);
	tg_addr_copy(&key->dst, dst);
	key->src_port_be = src_port_be;
	key->dst_port_be = dst_port_be;
	key->pad = 0;
}

/* sk_lookup: where a connection to one of the pod's own addresses goes first: LOOKUP_GUARDED to the relay, LOOKUP_INBOUND to Envoy,
 * LOOKUP_PROBE and TG_REASON_COUNT to the application. Nobody is asked about what the pod sends to itself, as upstream; so the
 * relay hands on what it let pass, and Envoy behind it (bound to 127.0.0.6 or ::1). No link brings a loopback source. */
tg_inline uint32_t tg_arrival_decide(const struct tg_arrival *in)
{
	int probe;

	if (tg_addr_is_loopback(&in->conn.remote) || tg_addr_is_loopback(&in->conn.local))
		return TG_REASON_COUNT;
	probe = in->probed && in->node && in->caller == in->node;
	if (in->guarded && in->caller != in->own && !probe)
		return TG_LOOKUP_GUARDED;
	if (in->inbound)
		return TG_LOOKUP_INBOUND;
	return in->guarded && probe ? TG_LOOKUP_PROBE : TG_REASON_COUNT;
}

/* sk_lookup: the row that may say that a new connection is Envoy's before it is the application's. Returns 0 if none may:
 * what comes from loopback was sent by the pod itself to itself, or by Envoy, which hands on what it took (bound to
 * 127.0.0.6 or ::1). No link brings such a source address: the kernel drops it. */
tg_inline int tg_inbound_key_of(struct tg_inbound_key *key, uint64_t netns_cookie, const struct tg_conn *conn)
{
	__builtin_memset(key, 0, sizeof(*key));
	if (tg_addr_is_loopback(&conn->remote) || tg_addr_is_loopback(&conn->local))
		return 0;
	key->netns_cookie = netns_cookie;
	key->port_be = conn->local_port_be;
	key->v6 = !tg_addr_is_v4(&conn->local);
	return 1;
}

/* sk_lookup: whether a new connection to `local` may go on. Answers TG_REASON_COUNT for what is not ours. */
tg_inline uint32_t tg_lookup_decide(const struct tg_addr *local, int recorded)
{
	if (!tg_addr_is_capture(local))
		return TG_REASON_COUNT;
	return recorded ? TG_LOOKUP_CAPTURED : TG_LOOKUP_DENY_UNRECORDED;
}
#endif
