/* setsockopt in enrolled pods: how soon a dead server is to be noticed, how packets are marked, how large they are and how
 * far they may go, is meant for the connection that the relay makes, so they are written down for it. The application's own socket gets them as always. */
#include "include/tg_maps.h"
#include "core/ctx.h"
#include "core/wishes_core.h"

#define TG_BUFFER 4096 /* what the kernel lets programs see of an option: one page, on some machines a larger one */

static __always_inline void tg_note(struct bpf_sock *sk, uint32_t wish, uint32_t value)
{
	struct tg_wishes *wanted = bpf_sk_storage_get(&tg_wanted, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	struct tg_sock *sock;

	if (!wanted)
		return; /* no memory: the connection works, with the system's own values */
	tg_wish_set(wanted, wish, value);
	sock = bpf_sk_storage_get(&tg_socks, sk, 0, 0);
	if (sock && sock->key.tier)
		bpf_map_update_elem(&tg_wishes, &sock->key, wanted, BPF_ANY);
}

/* The option's value. Returns 0 if the kernel would not take it either, or a program cannot see it. */
static __always_inline int tg_value(const struct bpf_sockopt *ctx, uint32_t *value)
{
	const uint32_t *word = ctx->optval;
	const uint8_t *byte = ctx->optval;

	if (ctx->optlen >= (int)sizeof(*word)) {
		if ((void *)(word + 1) > ctx->optval_end)
			return 0;
		*value = *word;
		return 1;
	}
	if (ctx->optlen < 1 || !tg_wish_may_be_short((uint32_t)ctx->level) || (void *)(byte + 1) > ctx->optval_end)
		return 0;
	*value = *byte;
	return 1;
}

SEC("cgroup/setsockopt")
int tg_setsockopt(struct bpf_sockopt *ctx)
{
	uint32_t wish = tg_wish_of((uint32_t)ctx->level, (uint32_t)ctx->optname);
	struct tg_pod_key key = {};
	struct bpf_sock *sk = ctx->sk;
	uint32_t value;

	/* Before Linux 6.4 an option longer than the buffer fails with EFAULT as soon as any program runs; 0 says "as the
	 * application gave it". */
	if (ctx->optlen > TG_BUFFER)
		ctx->optlen = 0;
	if (!wish || !sk || sk->protocol != TG_PROTOCOL_TCP || !tg_value(ctx, &value) || !tg_wish_is_valid(wish, value))
		return 1;
	key.netns_cookie = bpf_get_netns_cookie(ctx);
	if (bpf_map_lookup_elem(&tg_pods, &key))
		tg_note(sk, wish, value);
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
