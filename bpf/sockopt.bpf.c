/* getsockopt in Envoy's cgroup: SO_ORIGINAL_DST from our record, so that an unmodified `original_dst` filter works
 * without NAT. What sk_lookup led to Envoy on its way into a pod was sent to the very address that its socket has. */
#include "include/tg_maps.h"
#include "core/ctx.h"
#include "core/flow_core.h"

#define TG_BUFFER 4096 /* what the kernel lets programs see of an option: one page, on some machines a larger one */
#define TG_SOL_IP 0
#define TG_SOL_IPV6 41
#define TG_SO_ORIGINAL_DST 80 /* and IP6T_SO_ORIGINAL_DST: linux/netfilter_ipv4.h, netfilter_ipv6/ip6_tables.h */

/* struct sockaddr_in and sockaddr_in6 without libc */
struct tg_sockaddr4 {
	uint16_t family;
	uint16_t port_be;
	uint32_t ip_be;
	uint8_t zero[8];
};

struct tg_sockaddr6 {
	uint16_t family;
	uint16_t port_be;
	uint32_t flow;
	uint32_t ip_be[4];
	uint32_t scope;
};

/* What Envoy is told that was dialled: of a destination that nobody in the registry has only the family and the port, by
 * which it finds the routes that refuse. */
static __always_inline uint32_t tg_told(const struct tg_flow *flow, int word)
{
	return flow->flags & TG_FLOW_ELSEWHERE ? 0 : tg_addr_word(&flow->dst, word);
}

static __always_inline int tg_answer4(struct bpf_sockopt *ctx, const struct tg_flow *flow)
{
	struct tg_sockaddr4 *answer = ctx->optval;

	if ((void *)(answer + 1) > ctx->optval_end || !tg_addr_is_v4(&flow->dst))
		return 0;
	answer->family = TG_AF_INET;
	answer->port_be = flow->dst_port_be;
	answer->ip_be = tg_told(flow, 3);
	__builtin_memset(answer->zero, 0, sizeof(answer->zero));
	ctx->optlen = sizeof(*answer);
	return 1;
}

static __always_inline int tg_answer6(struct bpf_sockopt *ctx, const struct tg_flow *flow)
{
	struct tg_sockaddr6 *answer = ctx->optval;

	if ((void *)(answer + 1) > ctx->optval_end)
		return 0;
	answer->family = TG_AF_INET6;
	answer->port_be = flow->dst_port_be;
	answer->flow = 0;
	answer->ip_be[0] = tg_told(flow, 0);
	answer->ip_be[1] = tg_told(flow, 1);
	answer->ip_be[2] = tg_told(flow, 2);
	answer->ip_be[3] = tg_told(flow, 3);
	answer->scope = 0;
	ctx->optlen = sizeof(*answer);
	return 1;
}

/* Of a connection that no hook recorded, since nobody dialled a capture address. */
static __always_inline int tg_answer_own(struct bpf_sockopt *ctx, const struct tg_conn *conn)
{
	struct tg_flow own = {};

	tg_addr_copy(&own.dst, &conn->local);
	own.dst_port_be = conn->local_port_be;
	if (!(ctx->level == TG_SOL_IP ? tg_answer4(ctx, &own) : tg_answer6(ctx, &own)))
		return 1;
	ctx->retval = 0;
	tg_count(TG_SOCKOPT_ORIGINAL_DST);
	return 1;
}

SEC("cgroup/getsockopt")
int tg_getsockopt(struct bpf_sockopt *ctx)
{
	const struct tg_flow *flow;
	struct bpf_sock *sk = ctx->sk;
	struct tg_flow_key key;
	struct tg_conn conn;

	/* Before Linux 6.4 an option longer than the buffer fails with EFAULT as soon as any program runs; 0 says "as the
	 * kernel answered". Everything else that is not ours stays as it is, for programs of others behind us. */
	if (ctx->optlen > TG_BUFFER)
		ctx->optlen = 0;
	if (ctx->optname != TG_SO_ORIGINAL_DST || (ctx->level != TG_SOL_IP && ctx->level != TG_SOL_IPV6) || !sk)
		return 1;
	tg_conn_from_sock(&conn, sk);
	if (!tg_addr_is_capture(&conn.local))
		return tg_answer_own(ctx, &conn);
	if (!tg_flow_key_of(&key, bpf_get_netns_cookie(ctx), &conn.remote, conn.remote_port_be, &conn.local,
			    conn.local_port_be))
		return 1;
	flow = bpf_map_lookup_elem(&tg_flows, &key);
	if (!flow || !(ctx->level == TG_SOL_IP ? tg_answer4(ctx, flow) : tg_answer6(ctx, flow))) {
		tg_count(TG_SOCKOPT_NO_RECORD);
		return 1; /* with the kernel's own answer: ENOPROTOOPT or ENOENT */
	}
	ctx->retval = 0;
	tg_count(TG_SOCKOPT_ORIGINAL_DST);
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
