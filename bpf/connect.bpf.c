/* connect(): an enrolled pod's connection to a mesh destination goes to a listener inside the pod's own netns. */
#include "include/tg_maps.h"
#include "core/ctx.h"
#include "core/connect_core.h"
#include "include/tg_resolvers.h"

/* bpf_set_retval may be called from connect hooks (Linux 6.0; probed by the loader, which sets this before the
 * verifier looks): refusals are ECONNREFUSED instead of EPERM. */
const volatile uint32_t tg_has_set_retval = 0;

#define TG_ECONNREFUSED 111
#define TG_SOCK_STREAM 1

static __always_inline const struct tg_dest *tg_find_dest(struct tg_connect_in *in, const struct tg_pod *pod)
{
	const struct tg_dest *dest;
	struct tg_range_key range;
	struct tg_dest_key key;

	tg_dest_key_of(&key, in, pod->scope, TG_ROW_PORT);
	dest = bpf_map_lookup_elem(&tg_dests, &key);
	if (dest)
		return dest;
	tg_dest_key_of(&key, in, pod->scope, TG_ROW_ADDRESS);
	dest = bpf_map_lookup_elem(&tg_dests, &key);
	if (dest)
		return dest;
	tg_range_key_of(&range, in, pod->scope);
	dest = bpf_map_lookup_elem(&tg_ranges, &range);
	in->range = dest != 0;
	if (dest || !(pod->flags & TG_POD_REGISTRY_ONLY))
		return dest;
	in->elsewhere = 1;
	tg_dest_key_of(&key, in, pod->scope, TG_ROW_ELSEWHERE);
	return bpf_map_lookup_elem(&tg_dests, &key);
}

/* Whether sk_lookup knows the listener: not of one that a version before opened, or a kernel that refused it. */
static __always_inline int tg_is_spread(uint64_t cookie, const struct tg_connect_in *in, const struct tg_dest *dest)
{
	struct tg_listener_key key = { .netns_cookie = cookie, .tier = dest->tier, .v6 = !tg_addr_is_v4(&in->dst) };
	struct bpf_sock *listener = bpf_map_lookup_elem(&tg_listeners, &key);

	if (!listener)
		return 0;
	bpf_sk_release(listener);
	return 1;
}

/* Keep what was dialled with the socket. Returns 0 if there is no memory for it. */
static __always_inline int tg_remember(struct bpf_sock_addr *ctx, const struct tg_connect_out *out)
{
	struct tg_sock *sock = bpf_sk_storage_get(&tg_socks, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);

	if (!sock)
		return 0;
	__builtin_memset(&sock->key, 0, sizeof(sock->key));
	sock->flow = out->flow;
	return 1;
}

/* Protocol of a socket that may carry questions to a resolver; 0 for any other. */
static __always_inline uint32_t tg_asks_by(struct bpf_sock_addr *ctx)
{
	if (ctx->type == TG_SOCK_STREAM)
		return ctx->protocol == TG_PROTOCOL_TCP ? TG_PROTOCOL_TCP : 0;
	return ctx->type == TG_SOCK_DGRAM && ctx->protocol == TG_PROTOCOL_UDP ? TG_PROTOCOL_UDP : 0;
}

/* Decide, count and remember; the caller carries out->action out. */
static __always_inline void tg_connect(struct bpf_sock_addr *ctx, struct tg_connect_in *in, struct tg_connect_out *out)
{
	const struct tg_settings *settings = tg_settings_row();
	struct tg_pod_key key = { .netns_cookie = bpf_get_netns_cookie(ctx) };
	const struct tg_pod *pod = bpf_map_lookup_elem(&tg_pods, &key);
	uint32_t reason = TG_PASS_NOT_ENROLLED, dns;
	const struct tg_dest *dest;
	struct tg_addr to = {};
	uint16_t port_be = 0;

	in->cgroup = bpf_get_current_cgroup_id();
	in->protocol = ctx->type == TG_SOCK_STREAM ? ctx->protocol : 0;
	in->dst_port_be = ctx->user_port;
	if (ctx->sk)
		in->bound_dev_if = ctx->sk->bound_dev_if;
	/* What leads to a resolver does so whatever else the mesh knows of its address. */
	dns = tg_dns_route(key.netns_cookie, in, tg_asks_by(ctx), settings, pod, &to, &port_be);
	if (settings)
		reason = tg_connect_screen(in, settings, pod);
	if (dns == TG_REDIRECT_DNS) {
		tg_connect_verdict(out, dns);
		tg_addr_copy(&out->to, &to);
		out->to_port_be = port_be;
	} else if (dns != TG_REASON_COUNT && reason == TG_PASS_NOT_TCP) {
		tg_connect_verdict(out, dns);
	} else if (reason == TG_REASON_COUNT && pod) {
		dest = tg_find_dest(in, pod);
		if (dest)
			in->spread = (uint16_t)tg_is_spread(key.netns_cookie, in, dest);
		tg_connect_route(out, in, pod, dest);
	} else {
		tg_connect_verdict(out, reason);
	}
	if (out->action == TG_ACTION_REDIRECT) {
		if (!tg_remember(ctx, out))
			tg_connect_verdict(out, TG_DENY_STATE);
	} else if (pod) {
		/* The socket may have been captured in an earlier life (AF_UNSPEC, or a failed connect). */
		bpf_sk_storage_delete(&tg_socks, ctx->sk);
	}
	if (dns == TG_REDIRECT_DNS)
		out->action = TG_ACTION_REDIRECT; /* without a record: the address says which resolver it stands for */
	tg_count(out->reason);
}

static __always_inline int tg_refuse(void)
{
	if (tg_has_set_retval)
		bpf_set_retval(-TG_ECONNREFUSED);
	return 0; /* EPERM unless a return value was set */
}

SEC("cgroup/connect4")
int tg_connect4(struct bpf_sock_addr *ctx)
{
	struct tg_connect_in in = {};
	struct tg_connect_out out;

	tg_addr_set_v4(&in.dst, ctx->user_ip4);
	if (ctx->sk)
		tg_addr_set_v4(&in.bound, ctx->sk->src_ip4);
	tg_connect(ctx, &in, &out);
	if (out.action == TG_ACTION_DENY)
		return tg_refuse();
	if (out.action == TG_ACTION_REDIRECT) {
		ctx->user_ip4 = tg_addr_word(&out.to, 3);
		ctx->user_port = out.to_port_be;
	}
	return 1;
}

SEC("cgroup/connect6")
int tg_connect6(struct bpf_sock_addr *ctx)
{
	struct tg_connect_in in = {};
	struct tg_connect_out out;

	TG_CTX_ADDR6(&in.dst, ctx->user_ip6);
	if (ctx->sk)
		TG_CTX_ADDR6(&in.bound, ctx->sk->src_ip6);
	tg_connect(ctx, &in, &out);
	if (out.action == TG_ACTION_DENY)
		return tg_refuse();
	if (out.action == TG_ACTION_REDIRECT) {
		ctx->user_ip6[0] = tg_addr_word(&out.to, 0);
		ctx->user_ip6[1] = tg_addr_word(&out.to, 1);
		ctx->user_ip6[2] = tg_addr_word(&out.to, 2);
		ctx->user_ip6[3] = tg_addr_word(&out.to, 3);
		ctx->user_port = out.to_port_be;
	}
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
