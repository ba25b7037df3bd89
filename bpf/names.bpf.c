/* getpeername, getsockname and accept: what programs are told about captured connections. */
#include "include/tg_maps.h"
#include "core/ctx.h"
#include "core/flow_core.h"
#include "core/names_core.h"
#include "include/tg_resolvers.h"

#define TG_IPPROTO_MPTCP 262

/* What the application's socket dialled. That of MPTCP has nothing in store, because the kernel connects another one below
 * it, which names hooks never see; but it has its first subflow's addresses, and so its record. */
static __always_inline const struct tg_flow *tg_dialled(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct tg_flow_key key;
	struct tg_conn conn;
	struct tg_sock *sock;

	if (!sk)
		return 0;
	sock = bpf_sk_storage_get(&tg_socks, sk, 0, 0);
	if (sock)
		return &sock->flow;
	if (sk->protocol != TG_IPPROTO_MPTCP)
		return 0;
	tg_conn_from_sock(&conn, sk);
	if (!tg_flow_key_of(&key, bpf_get_netns_cookie(ctx), &conn.local, conn.local_port_be, &conn.remote,
			    conn.remote_port_be))
		return 0;
	return bpf_map_lookup_elem(&tg_flows, &key);
}

/* getsockname of the application. MPTCP's record goes with the subflow, which may be long before the application's socket:
 * what that then still has of a connection that was captured is the pod's address. */
static __always_inline void tg_own(struct bpf_sock_addr *ctx, const struct tg_addr *kernel, struct tg_name_out *out)
{
	const struct tg_flow *dialled = tg_dialled(ctx);
	struct tg_pod_key key = {};
	const struct tg_pod *pod;
	struct bpf_sock *sk = ctx->sk;
	struct tg_conn conn;

	tg_name_own(out, kernel, dialled);
	if (dialled || !sk)
		return;
	tg_conn_from_sock(&conn, sk);
	if (sk->protocol != TG_IPPROTO_MPTCP && !tg_addr_is_dns(&conn.remote))
		return;
	key.netns_cookie = bpf_get_netns_cookie(ctx);
	pod = bpf_map_lookup_elem(&tg_pods, &key);
	if (pod && tg_addr_is_capture(&conn.remote))
		tg_name_own_of(out, kernel, tg_addr_is_v4(kernel) ? &pod->ip4 : &pod->ip6);
	else if (pod && tg_addr_is_dns(&conn.remote))
		tg_name_own_of(out, kernel, &pod->ip4);
}

/* The connection that this accepted socket is the other end of, if it is to a pod that policies are for. */
static __always_inline const struct tg_caller *tg_called_by(struct bpf_sock_addr *ctx)
{
	return ctx->sk ? bpf_sk_storage_get(&tg_called, ctx->sk, 0, 0) : 0;
}

/* getpeername of the application: what it dialled, or the resolver that it asks; of who called it for whom that was. */
static __always_inline void tg_peer(struct bpf_sock_addr *ctx, const struct tg_addr *kernel, struct tg_name_out *out)
{
	const struct tg_resolver *resolver;

	tg_name_caller(out, tg_called_by(ctx));
	if (out->reason != TG_REASON_COUNT)
		return;
	if (!tg_addr_is_dns(kernel))
		return tg_name_peer(out, kernel, tg_dialled(ctx));
	resolver = tg_resolver_at(bpf_get_netns_cookie(ctx), kernel);
	if (!resolver)
		return tg_name_keep(out);
	tg_name_show(out, TG_NAME_DNS_RESTORED, &resolver->addr, TG_BE16(TG_DNS_PORT));
}

/* The record of a connection that a listener on a capture address accepted. */
static __always_inline const struct tg_flow *tg_accepted(struct bpf_sock_addr *ctx)
{
	struct tg_flow_key key;
	struct tg_conn conn = {};

	if (!ctx->sk)
		return 0;
	tg_conn_from_sock(&conn, ctx->sk);
	if (!tg_addr_is_capture(&conn.local))
		return 0;
	if (!tg_flow_key_of(&key, bpf_get_netns_cookie(ctx), &conn.remote, conn.remote_port_be, &conn.local,
			    conn.local_port_be))
		return 0;
	return bpf_map_lookup_elem(&tg_flows, &key);
}

static __always_inline int tg_show4(struct bpf_sock_addr *ctx, const struct tg_name_out *out)
{
	if (out->reason == TG_REASON_COUNT || !tg_addr_is_v4(&out->addr))
		return 1;
	ctx->user_ip4 = tg_addr_word(&out->addr, 3);
	if (out->port_be)
		ctx->user_port = out->port_be;
	tg_count(out->reason);
	return 1;
}

static __always_inline int tg_show6(struct bpf_sock_addr *ctx, const struct tg_name_out *out)
{
	if (out->reason == TG_REASON_COUNT)
		return 1;
	ctx->user_ip6[0] = tg_addr_word(&out->addr, 0);
	ctx->user_ip6[1] = tg_addr_word(&out->addr, 1);
	ctx->user_ip6[2] = tg_addr_word(&out->addr, 2);
	ctx->user_ip6[3] = tg_addr_word(&out->addr, 3);
	if (out->port_be)
		ctx->user_port = out->port_be;
	tg_count(out->reason);
	return 1;
}

SEC("cgroup/getpeername4")
int tg_getpeername4(struct bpf_sock_addr *ctx)
{
	struct tg_name_out out;
	struct tg_addr kernel;

	tg_addr_set_v4(&kernel, ctx->user_ip4);
	tg_peer(ctx, &kernel, &out);
	return tg_show4(ctx, &out);
}

SEC("cgroup/getpeername6")
int tg_getpeername6(struct bpf_sock_addr *ctx)
{
	struct tg_name_out out;
	struct tg_addr kernel;

	TG_CTX_ADDR6(&kernel, ctx->user_ip6);
	tg_peer(ctx, &kernel, &out);
	return tg_show6(ctx, &out);
}

SEC("cgroup/getsockname4")
int tg_getsockname4(struct bpf_sock_addr *ctx)
{
	struct tg_name_out out;
	struct tg_addr kernel;

	tg_addr_set_v4(&kernel, ctx->user_ip4);
	tg_own(ctx, &kernel, &out);
	return tg_show4(ctx, &out);
}

SEC("cgroup/getsockname6")
int tg_getsockname6(struct bpf_sock_addr *ctx)
{
	struct tg_name_out out;
	struct tg_addr kernel;

	TG_CTX_ADDR6(&kernel, ctx->user_ip6);
	tg_own(ctx, &kernel, &out);
	return tg_show6(ctx, &out);
}

/* Of what Envoy accepted: on the way out of a pod, or behind the relay on the way in. */
static __always_inline void tg_client(struct bpf_sock_addr *ctx, const struct tg_addr *kernel, struct tg_name_out *out)
{
	tg_name_caller(out, tg_called_by(ctx));
	if (out->reason == TG_REASON_COUNT)
		tg_name_client(out, tg_accepted(ctx), kernel, (uint16_t)ctx->user_port);
}

/* Envoy's cgroup only. The kernel asks the same hook for what accept() returns. */
SEC("cgroup/getpeername4")
int tg_client4(struct bpf_sock_addr *ctx)
{
	struct tg_name_out out;
	struct tg_addr kernel;

	tg_addr_set_v4(&kernel, ctx->user_ip4);
	tg_client(ctx, &kernel, &out);
	return tg_show4(ctx, &out);
}

SEC("cgroup/getpeername6")
int tg_client6(struct bpf_sock_addr *ctx)
{
	struct tg_name_out out;
	struct tg_addr kernel;

	TG_CTX_ADDR6(&kernel, ctx->user_ip6);
	tg_client(ctx, &kernel, &out);
	return tg_show6(ctx, &out);
}

char LICENSE[] SEC("license") = "GPL";
