/* Records of captured connections: written when the client's source port is known and before its SYN leaves,
 * removed when both ends are gone. And whose sockets they are that call pods which policies are for. Runs for the clients' sockets and for those that the listeners accepted. */
#include "include/tg_maps.h"
#include "core/ctx.h"
#include "core/flow_core.h"

#define TG_TCP_CLOSE 7
#define TG_SOL_SOCKET 1
#define TG_SO_SNDBUF 7
/* tcp_wmem[1] as the kernel has it (tcp(7)): a socket whose owner chose nothing. */
#define TG_SNDBUF_UNCHOSEN 16384
/* Asked for; the kernel doubles it, and takes no more than net.core.wmem_max before that. */
#define TG_SNDBUF_CAPTURED (512 * 1024)

/* The kernel sizes a send buffer by the segment, which is 64 KiB on lo: a sender that nobody reads would get three times
 * of what it gets on a link, 4 MiB. A size that the application chose is its own. */
static __always_inline void tg_bound_send_buffer(struct bpf_sock_ops *ops)
{
	int bytes = 0;

	if (bpf_getsockopt(ops, TG_SOL_SOCKET, TG_SO_SNDBUF, &bytes, sizeof(bytes)) || bytes != TG_SNDBUF_UNCHOSEN)
		return;
	bytes = TG_SNDBUF_CAPTURED;
	bpf_setsockopt(ops, TG_SOL_SOCKET, TG_SO_SNDBUF, &bytes, sizeof(bytes));
}

/* What the client's socket was told before it connected. Returns the record's flags. */
static __always_inline uint16_t tg_carry_wishes(struct bpf_sock *sk, const struct tg_flow_key *key)
{
	struct tg_wishes *wanted = bpf_sk_storage_get(&tg_wanted, sk, 0, 0);

	if (wanted && !bpf_map_update_elem(&tg_wishes, key, wanted, BPF_ANY))
		return TG_FLOW_WISHES;
	bpf_map_delete_elem(&tg_wishes, key); /* of an earlier connection whose end was missed */
	return 0;
}

/* The client's socket, about to send its SYN. */
static __always_inline void tg_record(struct bpf_sock_ops *ops, struct bpf_sock *sk, struct tg_sock *sock)
{
	struct tg_flow_key key;
	struct tg_conn conn;
	struct tg_flow flow;

	tg_conn_from_sock_ops(&conn, ops);
	if (!tg_flow_key_of(&key, bpf_get_netns_cookie(ops), &conn.local, conn.local_port_be, &conn.remote,
			    conn.remote_port_be))
		return;
	/* Close of this socket must be seen, or the record would stay. */
	bpf_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
	tg_bound_send_buffer(ops);
	flow = sock->flow;
	flow.flags |= tg_carry_wishes(sk, &key);
	flow.id = tg_flow_id(bpf_get_socket_cookie(ops));
	if (bpf_map_update_elem(&tg_flows, &key, &flow, BPF_ANY))
		return tg_count(TG_SOCKOPS_RECORD_FAILED); /* sk_lookup resets the connection */
	sock->key = key;
	sock->flow.id = flow.id;
	tg_count(TG_SOCKOPS_RECORDED);
}

/* Any other socket of ours or of a pod, about to send its SYN to a pod that policies are for: whose it is. The relay has said
 * with the socket for whom it calls. */
static __always_inline void tg_call(struct bpf_sock_ops *ops, struct bpf_sock *sk)
{
	const struct tg_caller *called_for;
	struct tg_guarded_key guarded;
	struct tg_caller caller = {};
	struct tg_caller_key key;
	struct tg_conn conn;

	tg_conn_from_sock_ops(&conn, ops);
	tg_addr_copy(&guarded.addr, &conn.remote);
	if (!bpf_map_lookup_elem(&tg_guarded, &guarded))
		return;
	called_for = bpf_sk_storage_get(&tg_called, sk, 0, 0);
	if (called_for)
		caller = *called_for;
	caller.netns_cookie = bpf_get_netns_cookie(ops);
	caller.id = tg_flow_id(bpf_get_socket_cookie(ops));
	tg_caller_key_of(&key, &conn.local, conn.local_port_be, &conn.remote, conn.remote_port_be);
	/* Close of this socket must be seen: that of one that nobody accepted would stay. */
	bpf_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
	tg_count(bpf_map_update_elem(&tg_callers, &key, &caller, BPF_ANY) ? TG_SOCKOPS_CALL_FAILED : TG_SOCKOPS_CALLED);
}

/* The other end of such a connection: what is known of the caller goes with the socket from now on, so that nobody who gets
 * the same addresses later is taken for it. */
static __always_inline void tg_answer(struct bpf_sock *sk, const struct tg_conn *conn)
{
	const struct tg_caller *caller;
	struct tg_caller_key key;
	struct tg_caller *kept;

	tg_caller_key_of(&key, &conn->remote, conn->remote_port_be, &conn->local, conn->local_port_be);
	caller = bpf_map_lookup_elem(&tg_callers, &key);
	if (!caller)
		return;
	kept = bpf_sk_storage_get(&tg_called, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (kept)
		*kept = *caller;
	else
		tg_count(TG_SOCKOPS_CALL_FAILED);
	bpf_map_delete_elem(&tg_callers, &key);
}

/* A caller's socket closes: a record that is still its own was never taken. */
static __always_inline void tg_hang_up(struct bpf_sock_ops *ops)
{
	const struct tg_caller *caller;
	struct tg_caller_key key;
	struct tg_conn conn;

	tg_conn_from_sock_ops(&conn, ops);
	tg_caller_key_of(&key, &conn.local, conn.local_port_be, &conn.remote, conn.remote_port_be);
	caller = bpf_map_lookup_elem(&tg_callers, &key);
	if (caller && caller->id == tg_flow_id(bpf_get_socket_cookie(ops)))
		bpf_map_delete_elem(&tg_callers, &key);
}

/* The key of the connection that this accepted socket is the listener's end of. */
static __always_inline int tg_accepted_key(struct bpf_sock_ops *ops, struct tg_flow_key *key)
{
	struct tg_conn conn;

	tg_conn_from_sock_ops(&conn, ops);
	return tg_flow_key_of(key, bpf_get_netns_cookie(ops), &conn.remote, conn.remote_port_be, &conn.local,
			      conn.local_port_be);
}

/* A listener's end of a connection: it may live on when the client's socket is long gone, and see its 4-tuple used again. */
static __always_inline void tg_accepted(struct bpf_sock_ops *ops, struct bpf_sock *sk)
{
	const struct tg_flow *flow;
	struct tg_flow_key key;
	struct tg_conn conn;
	struct tg_end *end;

	if (!tg_accepted_key(ops, &key)) {
		tg_conn_from_sock_ops(&conn, ops);
		return tg_answer(sk, &conn);
	}
	bpf_sock_ops_cb_flags_set(ops, ops->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
	flow = bpf_map_lookup_elem(&tg_flows, &key);
	if (!flow || !flow->id)
		return;
	end = bpf_sk_storage_get(&tg_ends, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (end) /* without memory the record stays until the table needs its place */
		end->id = flow->id;
}

/* Remove the record if it is still this connection's. Between the look and the removal nobody can make another one: the
 * socket that closes has the 4-tuple until its state is CLOSE, and SYNs of its successor reach it, not the listener. A
 * successor that sends its first SYN just then meets sk_lookup without a record at worst, and is refused. */
static __always_inline void tg_forget(const struct tg_flow_key *key, uint32_t id)
{
	const struct tg_flow *flow = bpf_map_lookup_elem(&tg_flows, key);

	if (!flow || flow->id != id)
		return;
	bpf_map_delete_elem(&tg_flows, key);
	bpf_map_delete_elem(&tg_wishes, key);
}

static __always_inline void tg_closed(struct bpf_sock_ops *ops, struct bpf_sock *sk)
{
	const struct tg_sock *sock = bpf_sk_storage_get(&tg_socks, sk, 0, 0);
	const struct tg_end *end;
	struct tg_flow_key key;

	if (sock) {
		key = sock->key;
		if (key.tier && !tg_flow_outlives_client(ops->args[0]))
			tg_forget(&key, sock->flow.id);
		return;
	}
	if (!tg_accepted_key(ops, &key))
		return tg_hang_up(ops);
	end = bpf_sk_storage_get(&tg_ends, sk, 0, 0);
	tg_forget(&key, end ? end->id : 0);
}

SEC("sockops")
int tg_sockops(struct bpf_sock_ops *ops)
{
	struct bpf_sock *sk = ops->sk;
	struct tg_sock *sock;

	if (!sk || (ops->family != TG_AF_INET && ops->family != TG_AF_INET6))
		return 1;
	switch (ops->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		sock = bpf_sk_storage_get(&tg_socks, sk, 0, 0);
		if (sock)
			tg_record(ops, sk, sock);
		else
			tg_call(ops, sk);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		tg_accepted(ops, sk);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ops->args[1] == TG_TCP_CLOSE)
			tg_closed(ops, sk);
		break;
	}
	return 1;
}

/* Of the whole machine, where the pods' tree is not all of it: what the node's own processes call, kubelet among them. */
SEC("sockops")
int tg_node_calls(struct bpf_sock_ops *ops)
{
	const struct tg_settings *settings;
	struct bpf_sock *sk = ops->sk;

	if (!sk || (ops->family != TG_AF_INET && ops->family != TG_AF_INET6))
		return 1;
	settings = tg_settings_row();
	if (!settings || !settings->node_netns || bpf_get_netns_cookie(ops) != settings->node_netns)
		return 1;
	if (ops->op == BPF_SOCK_OPS_TCP_CONNECT_CB)
		tg_call(ops, sk);
	else if (ops->op == BPF_SOCK_OPS_STATE_CB && ops->args[1] == TG_TCP_CLOSE)
		tg_hang_up(ops);
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
