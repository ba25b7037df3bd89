/* The decision functions as programs that BPF_PROG_TEST_RUN can run: cgroup hooks themselves cannot be (errno 524). */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "../../bpf/core/connect_core.h"
#include "../../bpf/core/dns_core.h"
#include "../../bpf/core/flow_core.h"
#include "../../bpf/core/names_core.h"
#include "case.h"

#define CASE(type, name)                                         \
	struct type *packet_ = (void *)(long)ctx->data;          \
	struct type name;                                        \
	if ((void *)(packet_ + 1) > (void *)(long)ctx->data_end) \
		return XDP_ABORTED;                              \
	name = *packet_

#define ANSWER(name)     \
	*packet_ = name; \
	return XDP_PASS

SEC("xdp")
int test_connect(struct xdp_md *ctx)
{
	CASE(tg_connect_case, c);
	uint32_t reason = tg_connect_screen(&c.in, &c.settings, c.has_pod ? &c.pod : 0);

	if (reason == TG_REASON_COUNT)
		tg_connect_route(&c.out, &c.in, &c.pod, c.has_dest ? &c.dest : 0);
	else
		tg_connect_verdict(&c.out, reason);
	tg_dest_key_of(&c.key, &c.in, c.pod.scope, TG_ROW_PORT);
	tg_dest_key_of(&c.any_key, &c.in, c.pod.scope, TG_ROW_ADDRESS);
	tg_dest_key_of(&c.elsewhere_key, &c.in, c.pod.scope, TG_ROW_ELSEWHERE);
	tg_range_key_of(&c.range_key, &c.in, c.pod.scope);
	ANSWER(c);
}

SEC("xdp")
int test_question(struct xdp_md *ctx)
{
	CASE(tg_question_case, c);
	c.is_question = c.has_pod && tg_dns_screen(&c.in, c.in.protocol, &c.settings, &c.dns, &c.pod);
	ANSWER(c);
}

SEC("xdp")
int test_names(struct xdp_md *ctx)
{
	CASE(tg_name_case, c);
	tg_name_peer(&c.peer, &c.kernel, c.has_sock ? &c.sock.flow : 0);
	tg_name_own(&c.own, &c.kernel, c.has_sock ? &c.sock.flow : 0);
	tg_name_client(&c.client, c.has_flow ? &c.flow : 0, &c.kernel, c.port_be);
	ANSWER(c);
}

SEC("xdp")
int test_arrival(struct xdp_md *ctx)
{
	CASE(tg_arrival_case, c);
	c.reason = tg_arrival_decide(&c.in);
	ANSWER(c);
}

SEC("xdp")
int test_flow(struct xdp_md *ctx)
{
	CASE(tg_flow_case, c);
	c.has_key = tg_flow_key_of(&c.key, c.netns_cookie, &c.conn.local, c.conn.local_port_be, &c.conn.remote,
				   c.conn.remote_port_be);
	c.lookup = tg_lookup_decide(&c.conn.remote, c.has_key && c.recorded);
	c.outlives = tg_flow_outlives_client(c.old_state);
	ANSWER(c);
}

char LICENSE[] SEC("license") = "GPL";
