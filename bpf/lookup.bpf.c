/* sk_lookup in a pod's netns: a SYN to a capture address that no connect hook recorded is reset; one that has a record
 * goes to the listener of its tier, whose own address is one of many. A SYN from elsewhere to a port at which Envoy stands
 * in front of the application goes to Envoy. One instance per pod. */
#include "include/tg_maps.h"
#include "core/ctx.h"
#include "core/flow_core.h"
#include "include/tg_resolvers.h"

/* The netns that this instance is attached to; sk_lookup has no helper that tells it. Set by the loader. */
const volatile uint64_t tg_netns_cookie = 0;

/* Give the connection to the listener of its tier. 0 if there is none (any more), or it is not to be had. */
static __always_inline int tg_assign(struct bpf_sk_lookup *ctx, const struct tg_conn *conn)
{
	struct tg_listener_key key = {
		.netns_cookie = tg_netns_cookie,
		.tier = tg_addr_tier(&conn->local),
		.v6 = !tg_addr_is_v4(&conn->local),
	};
	struct bpf_sock *listener = bpf_map_lookup_elem(&tg_listeners, &key);
	long refused;

	if (!listener)
		return 0;
	refused = bpf_sk_assign(ctx, listener, 0);
	bpf_sk_release(listener);
	return !refused;
}

/* What is sent to a slot goes to the node's DNS. TG_REASON_COUNT: `local` is no slot that was given out. */
static __always_inline uint32_t tg_to_dns(struct bpf_sk_lookup *ctx, const struct tg_addr *local)
{
	struct tg_dns_socket_key key = {
		.netns_cookie = tg_netns_cookie,
		.protocol = ctx->protocol,
		.v6 = !tg_addr_is_v4(local),
	};
	struct bpf_sock *listener;
	long refused;

	if (!tg_addr_is_dns(local) || !tg_resolver_at(tg_netns_cookie, local))
		return TG_REASON_COUNT;
	listener = bpf_map_lookup_elem(&tg_dns_sockets, &key);
	if (!listener)
		return TG_LOOKUP_DENY_DNS;
	refused = bpf_sk_assign(ctx, listener, 0);
	bpf_sk_release(listener);
	return refused ? TG_LOOKUP_DENY_DNS : TG_LOOKUP_DNS;
}

/* What comes to the pod's own addresses. TG_REASON_COUNT: none of our business. */
static __always_inline uint32_t tg_arrives(struct bpf_sk_lookup *ctx, const struct tg_conn *conn)
{
	struct tg_inbound_key key;
	struct tg_listener_key at = {
		.netns_cookie = tg_netns_cookie,
		.tier = TG_TIER_ENVOY,
		.v6 = !tg_addr_is_v4(&conn->local),
	};
	struct bpf_sock *listener;
	long refused;

	if (!tg_inbound_key_of(&key, tg_netns_cookie, conn) || !bpf_map_lookup_elem(&tg_inbound, &key))
		return TG_REASON_COUNT;
	listener = bpf_map_lookup_elem(&tg_inbound_listeners, &at);
	if (!listener)
		return TG_LOOKUP_DENY_INBOUND;
	refused = bpf_sk_assign(ctx, listener, 0);
	bpf_sk_release(listener);
	return refused ? TG_LOOKUP_DENY_INBOUND : TG_LOOKUP_INBOUND;
}

SEC("sk_lookup")
int tg_lookup(struct bpf_sk_lookup *ctx)
{
	struct tg_flow_key key;
	struct tg_conn conn;
	uint32_t reason;
	int recorded;

	tg_conn_from_sk_lookup(&conn, ctx);
	reason = tg_to_dns(ctx, &conn.local);
	if (reason != TG_REASON_COUNT) {
		tg_count(reason);
		/* Nobody there: the kernel says so at once, with a reset or an ICMP error, and the next try passes us by. */
		return SK_PASS;
	}
	if (ctx->protocol != TG_PROTOCOL_TCP)
		return SK_PASS;
	if (!tg_addr_is_capture(&conn.local)) {
		reason = tg_arrives(ctx, &conn);
		tg_count(reason);
		return reason == TG_LOOKUP_DENY_INBOUND ? SK_DROP : SK_PASS;
	}
	recorded = tg_flow_key_of(&key, tg_netns_cookie, &conn.remote, conn.remote_port_be, &conn.local,
				  conn.local_port_be) &&
		   bpf_map_lookup_elem(&tg_flows, &key);
	reason = tg_lookup_decide(&conn.local, recorded);
	tg_count(reason);
	if (reason == TG_LOOKUP_DENY_UNRECORDED)
		return SK_DROP;
	/* A listener finds connections to its own address by itself. */
	return tg_addr_spread(&conn.local) && !tg_assign(ctx, &conn) ? SK_DROP : SK_PASS;
}

char LICENSE[] SEC("license") = "GPL";
