/* From the kernel's contexts to our structs. The only place that knows in which byte order each context keeps a port:
 * bpf_sock_addr.user_port, bpf_sock.dst_port and bpf_sk_lookup.remote_port are network order in 16 bits,
 * bpf_sock.src_port, bpf_sock_ops.local_port and bpf_sk_lookup.local_port host order,
 * bpf_sock_ops.remote_port network order of 32 bits (the port is in the upper half on little endian). */
#ifndef TG_CTX_H
#define TG_CTX_H
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "addr_core.h"
#include "core_io.h"

#define TG_AF_INET 2
#define TG_AF_INET6 10

/* A context may only be read at fixed offsets, word by word: clang must not merge or move these loads. Where both families
 * go on the same way, it would compute the place to load from first and load once; what was loaded is therefore kept where
 * it was by an empty instruction. */
#define TG_CTX_KEEP(word) asm volatile("" : "+r"(word))
#define TG_CTX_ADDR4(to, word)             \
	do {                               \
		uint32_t ip_ = (word);     \
		TG_CTX_KEEP(ip_);          \
		tg_addr_set_v4((to), ip_); \
	} while (0)
#define TG_CTX_ADDR6(to, words)                                                              \
	do {                                                                                 \
		uint32_t a_ = (words)[0], b_ = (words)[1], c_ = (words)[2], d_ = (words)[3]; \
		TG_CTX_KEEP(a_);                                                             \
		TG_CTX_KEEP(b_);                                                             \
		TG_CTX_KEEP(c_);                                                             \
		TG_CTX_KEEP(d_);                                                             \
		tg_addr_set((to), a_, b_, c_, d_);                                           \
	} while (0)

/* Address that the socket is bound or connected from, v4-mapped for IPv4. */
static __always_inline void tg_sock_local(struct tg_addr *to, struct bpf_sock *sk)
{
	if (sk->family == TG_AF_INET)
		TG_CTX_ADDR4(to, sk->src_ip4);
	else
		TG_CTX_ADDR6(to, sk->src_ip6);
}

static __always_inline void tg_conn_from_sock(struct tg_conn *conn, struct bpf_sock *sk)
{
	tg_sock_local(&conn->local, sk);
	if (sk->family == TG_AF_INET)
		TG_CTX_ADDR4(&conn->remote, sk->dst_ip4);
	else
		TG_CTX_ADDR6(&conn->remote, sk->dst_ip6);
	conn->local_port_be = TG_BE16((uint16_t)sk->src_port);
	conn->remote_port_be = sk->dst_port;
	conn->pad = 0;
}

static __always_inline void tg_conn_from_sock_ops(struct tg_conn *conn, struct bpf_sock_ops *ops)
{
	if (ops->family == TG_AF_INET) {
		TG_CTX_ADDR4(&conn->local, ops->local_ip4);
		TG_CTX_ADDR4(&conn->remote, ops->remote_ip4);
	} else {
		TG_CTX_ADDR6(&conn->local, ops->local_ip6);
		TG_CTX_ADDR6(&conn->remote, ops->remote_ip6);
	}
	conn->local_port_be = TG_BE16((uint16_t)ops->local_port);
	conn->remote_port_be = TG_BE16((uint16_t)TG_BE32(ops->remote_port));
	conn->pad = 0;
}

static __always_inline void tg_conn_from_sk_lookup(struct tg_conn *conn, struct bpf_sk_lookup *ctx)
{
	if (ctx->family == TG_AF_INET) {
		TG_CTX_ADDR4(&conn->local, ctx->local_ip4);
		TG_CTX_ADDR4(&conn->remote, ctx->remote_ip4);
	} else {
		TG_CTX_ADDR6(&conn->local, ctx->local_ip6);
		TG_CTX_ADDR6(&conn->remote, ctx->remote_ip6);
	}
	conn->local_port_be = TG_BE16((uint16_t)ctx->local_port);
	conn->remote_port_be = ctx->remote_port;
	conn->pad = 0;
}
#endif
