/* sk_lookup in a pod's netns: a SYN to a capture address that no connect hook recorded is reset; one that has a record
 * goes to the listener of its tier, whose own address is one of many. A SYN from elsewhere to a pod that policies are for goes
 * to the relay, one to a port at which Envoy stands in front of the application to Envoy. One instance per pod. */
#include "include/tg_maps.h"
#include "core/ctx.h"
#include "core/flow_core.h"
#include "include/tg_resolvers.h"

/* The netns that this instance is attached to; sk_lookup has no helper that tells it. Set by the loader. */
const volatile uint64_t tg_netns_cookie = 0;

/* Give the connection to a listener of a table of them. 0 if there is none, or it is not to be had. */
static __always_inline int tg_assign_from(struct bpf_sk_lookup *ctx, void *table, const struct tg_conn *conn,
					  uint32_t tier)
{
	struct tg_listener_key key = {
		.netns_cookie = tg_netns_cookie,
		.tier = tier,
		.v6 = !tg_addr_is_v4(&conn->local),
	};
	struct bpf_sock *listener = bpf_map_lookup_elem(table, &key);
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

/* Whose socket it comes from, as the kernel wrote it down before the SYN left; 0 = nobody did. */
static __always_inline uint64_t tg_caller_of(const struct tg_conn *conn)
{
	const struct tg_caller *caller;
	struct tg_caller_key key;

	tg_caller_key_of(&key, &conn->remote, conn->remote_port_be, &conn->local, conn->local_port_be);
	caller = bpf_map_lookup_elem(&tg_callers, &key);
	return caller ? caller->netns_cookie : 0;
}

static __always_inline void tg_arrival_look(struct tg_arrival *in)
{
	struct tg_guard_key guard = { .netns_cookie = tg_netns_cookie };
	const struct tg_settings *settings;
	struct tg_inbound_key inbound;

	in->own = tg_netns_cookie;
	in->guarded = bpf_map_lookup_elem(&tg_guards, &guard) != 0;
	if (in->guarded) {
		settings = tg_settings_row();
		in->node = settings ? settings->node_netns : 0;
		in->caller = tg_caller_of(&in->conn);
		guard.port_be = in->conn.local_port_be;
		in->probed = bpf_map_lookup_elem(&tg_guards, &guard) != 0;
	}
	in->inbound =
		tg_inbound_key_of(&inbound, tg_netns_cookie, &in->conn) && bpf_map_lookup_elem(&tg_inbound, &inbound);
}

/* What comes to the pod's own addresses. TG_REASON_COUNT: none of our business. */
static __always_inline uint32_t tg_arrives(struct bpf_sk_lookup *ctx, const struct tg_conn *conn)
{
	struct tg_arrival in = { .conn = *conn };
	uint32_t reason;

	tg_arrival_look(&in);
	reason = tg_arrival_decide(&in);
	if (reason == TG_LOOKUP_GUARDED && !tg_assign_from(ctx, &tg_listeners, conn, TG_TIER_FASTPATH))
		return TG_LOOKUP_DENY_GUARDED;
	if (reason == TG_LOOKUP_INBOUND && !tg_assign_from(ctx, &tg_inbound_listeners, conn, TG_TIER_ENVOY))
		return TG_LOOKUP_DENY_INBOUND;
	return reason;
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
		return reason == TG_LOOKUP_DENY_INBOUND || reason == TG_LOOKUP_DENY_GUARDED ? SK_DROP : SK_PASS;
	}
	recorded = tg_flow_key_of(&key, tg_netns_cookie, &conn.remote, conn.remote_port_be, &conn.local,
				  conn.local_port_be) &&
		   bpf_map_lookup_elem(&tg_flows, &key);
	reason = tg_lookup_decide(&conn.local, recorded);
	tg_count(reason);
	if (reason == TG_LOOKUP_DENY_UNRECORDED)
		return SK_DROP;
	/* A listener finds connections to its own address by itself. */
	return tg_addr_spread(&conn.local) && !tg_assign_from(ctx, &tg_listeners, &conn, tg_addr_tier(&conn.local)) ?
		       SK_DROP :
		       SK_PASS;
}

char LICENSE[] SEC("license") = "GPL";
