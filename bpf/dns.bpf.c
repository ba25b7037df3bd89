/* sendmsg() and recvmsg() of UDP: a question that an enrolled pod sends to a resolver goes to the node's DNS in the pod's own
 * netns, and its answer comes from the resolver, as far as the application can see. Sockets that were connected do not come
 * here (connect.bpf.c). */
#include "include/tg_maps.h"
#include "core/ctx.h"
#include "include/tg_resolvers.h"

/* Returns 1 if the question goes to `to` instead. */
static __always_inline int tg_ask(struct bpf_sock_addr *ctx, struct tg_connect_in *in, struct tg_addr *to,
				  uint16_t *port_be)
{
	struct tg_pod_key key = {};
	const struct tg_pod *pod;
	uint32_t reason;

	key.netns_cookie = bpf_get_netns_cookie(ctx);
	pod = bpf_map_lookup_elem(&tg_pods, &key);
	in->cgroup = bpf_get_current_cgroup_id();
	in->dst_port_be = ctx->user_port;
	if (ctx->sk)
		in->bound_dev_if = ctx->sk->bound_dev_if;
	reason = tg_dns_route(key.netns_cookie, in, TG_PROTOCOL_UDP, tg_settings_row(), pod, to, port_be);
	tg_count(reason);
	return reason == TG_REDIRECT_DNS;
}

SEC("cgroup/sendmsg4")
int tg_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct tg_connect_in in = {};
	uint16_t port_be = 0;
	struct tg_addr to = {};

	if (ctx->user_port != TG_BE16(TG_DNS_PORT)) /* all other UDP, with as little as can be */
		return 1;
	tg_addr_set_v4(&in.dst, ctx->user_ip4);
	if (tg_ask(ctx, &in, &to, &port_be)) {
		ctx->user_ip4 = tg_addr_word(&to, 3);
		ctx->user_port = port_be;
	}
	return 1;
}

SEC("cgroup/sendmsg6")
int tg_sendmsg6(struct bpf_sock_addr *ctx)
{
	struct tg_connect_in in = {};
	uint16_t port_be = 0;
	struct tg_addr to = {};

	if (ctx->user_port != TG_BE16(TG_DNS_PORT))
		return 1;
	TG_CTX_ADDR6(&in.dst, ctx->user_ip6);
	if (tg_ask(ctx, &in, &to, &port_be)) {
		ctx->user_ip6[0] = tg_addr_word(&to, 0);
		ctx->user_ip6[1] = tg_addr_word(&to, 1);
		ctx->user_ip6[2] = tg_addr_word(&to, 2);
		ctx->user_ip6[3] = tg_addr_word(&to, 3);
		ctx->user_port = port_be;
	}
	return 1;
}

SEC("cgroup/recvmsg4")
int tg_recvmsg4(struct bpf_sock_addr *ctx)
{
	const struct tg_resolver *resolver;
	struct tg_addr from;

	tg_addr_set_v4(&from, ctx->user_ip4);
	if (!tg_addr_is_dns(&from))
		return 1;
	resolver = tg_resolver_at(bpf_get_netns_cookie(ctx), &from);
	if (!resolver)
		return 1;
	ctx->user_ip4 = tg_addr_word(&resolver->addr, 3);
	ctx->user_port = TG_BE16(TG_DNS_PORT);
	tg_count(TG_NAME_DNS_RESTORED);
	return 1;
}

SEC("cgroup/recvmsg6")
int tg_recvmsg6(struct bpf_sock_addr *ctx)
{
	const struct tg_resolver *resolver;
	struct tg_addr from;

	TG_CTX_ADDR6(&from, ctx->user_ip6);
	if (!tg_addr_is_dns(&from))
		return 1;
	resolver = tg_resolver_at(bpf_get_netns_cookie(ctx), &from);
	if (!resolver)
		return 1;
	ctx->user_ip6[0] = tg_addr_word(&resolver->addr, 0);
	ctx->user_ip6[1] = tg_addr_word(&resolver->addr, 1);
	ctx->user_ip6[2] = tg_addr_word(&resolver->addr, 2);
	ctx->user_ip6[3] = tg_addr_word(&resolver->addr, 3);
	ctx->user_port = TG_BE16(TG_DNS_PORT);
	tg_count(TG_NAME_DNS_RESTORED);
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
