/* listen() of the relay and of Envoy: where sk_lookup finds them. Attached to their groups only, so that no application
 * can stand in for them. A listener that closes goes from the table by itself. */
#include "include/tg_maps.h"
#include "core/ctx.h"
#include "core/flow_core.h"

SEC("sockops")
int tg_listen(struct bpf_sock_ops *ops)
{
	struct tg_listener_key key = {};
	struct tg_conn conn;
	long refused;

	if (ops->op != BPF_SOCK_OPS_TCP_LISTEN_CB || (ops->family != TG_AF_INET && ops->family != TG_AF_INET6))
		return 1;
	tg_conn_from_sock_ops(&conn, ops);
	key.netns_cookie = bpf_get_netns_cookie(ops);
	key.v6 = !tg_addr_is_v4(&conn.local);
	if (tg_addr_is_inbound(&conn.local)) {
		key.tier = TG_TIER_ENVOY;
		refused = bpf_sock_hash_update(ops, &tg_inbound_listeners, &key, BPF_ANY);
	} else {
		key.tier = tg_addr_tier(&conn.local);
		if (!key.tier || tg_addr_spread(&conn.local))
			return 1;
		refused = bpf_sock_hash_update(ops, &tg_listeners, &key, BPF_ANY);
	}
	tg_count(refused ? TG_LISTEN_NOT_NOTED : TG_LISTEN_NOTED);
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
