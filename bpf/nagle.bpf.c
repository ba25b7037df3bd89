/* A server that answers in two sends waits, by Nagle's rule (RFC 9293 3.7.4), for the acknowledgement of the first. Without
 * a mesh its client's connection is new and acknowledges at once; Envoy's is kept, and a kept one delays by 40 ms. Neither
 * end can be told to acknowledge at once (TCP_QUICKACK is not for programs, and the kernel forgets it), so the server does
 * not wait, and where it cannot be told that, Envoy waits as little as the kernel lets it. */
#include "include/tg_maps.h"
#include "core/ctx.h"

#define TG_SOL_TCP 6
#define TG_TCP_NODELAY 1       /* linux/tcp.h; in bpf_setsockopt since Linux 6.1 */
#define TG_TCP_DELACK_MAX 1003 /* TCP_BPF_DELACK_MAX, microseconds, since Linux 5.11 */

/* The sockets that servers in enrolled pods accept. */
SEC("sockops")
int tg_served(struct bpf_sock_ops *ops)
{
	struct tg_pod_key key;
	int on = 1;

	if (ops->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB || (ops->family != TG_AF_INET && ops->family != TG_AF_INET6))
		return 1;
	key.netns_cookie = bpf_get_netns_cookie(ops);
	if (bpf_map_lookup_elem(&tg_pods, &key) && bpf_setsockopt(ops, TG_SOL_TCP, TG_TCP_NODELAY, &on, sizeof(on)))
		tg_count(TG_SERVED_DELAYS);
	return 1;
}

/* Envoy's connections to endpoints, wherever those are: the least that the kernel takes is two of its ticks, which are
 * 1, 4 or 10 ms long. */
SEC("sockops")
int tg_upstream(struct bpf_sock_ops *ops)
{
	int fast = 2000, usual = 8000, slow = 20000;

	if (ops->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB || (ops->family != TG_AF_INET && ops->family != TG_AF_INET6))
		return 1;
	if (bpf_setsockopt(ops, TG_SOL_TCP, TG_TCP_DELACK_MAX, &fast, sizeof(fast)) &&
	    bpf_setsockopt(ops, TG_SOL_TCP, TG_TCP_DELACK_MAX, &usual, sizeof(usual)) &&
	    bpf_setsockopt(ops, TG_SOL_TCP, TG_TCP_DELACK_MAX, &slow, sizeof(slow)))
		tg_count(TG_UPSTREAM_DELAYS);
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
