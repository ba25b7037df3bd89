/* What a test packet carries to the programs in *.t.bpf.c: the arguments of a decision, and room for its answer. */
#ifndef TG_CASE_H
#define TG_CASE_H
#ifndef TG_ABI_CDEF
#include "../../bpf/core/core_io.h"
#endif

struct tg_connect_case {
	struct tg_connect_in in;
	struct tg_settings settings;
	struct tg_pod pod;
	struct tg_dest dest;
	uint32_t has_pod;
	uint32_t has_dest;
	struct tg_connect_out out;
	struct tg_dest_key key;     /* of the row that decides */
	struct tg_dest_key any_key; /* of the row for any port */
	struct tg_dest_key elsewhere_key;
	struct tg_range_key range_key;
	uint32_t pad;
};

struct tg_question_case {
	struct tg_connect_in in;
	struct tg_settings settings;
	struct tg_dns dns;
	struct tg_pod pod;
	uint32_t has_pod;
	uint32_t is_question;
};

struct tg_name_case {
	struct tg_addr kernel; /* what the kernel would say */
	struct tg_sock sock;   /* for the client's names */
	struct tg_flow flow;   /* for the listener's */
	uint32_t has_sock;
	uint32_t has_flow;
	uint16_t port_be; /* what the kernel would say, too */
	uint16_t pad[3];
	struct tg_name_out peer;
	struct tg_name_out own;
	struct tg_name_out client;
};

struct tg_arrival_case {
	struct tg_arrival in;
	uint32_t reason; /* enum tg_reason */
	uint32_t pad;
};

struct tg_flow_case {
	struct tg_conn conn; /* local: the client's end, remote: the listener's */
	uint64_t netns_cookie;
	uint32_t recorded;
	uint32_t old_state; /* of the client's socket before CLOSE */
	struct tg_flow_key key;
	uint32_t has_key;
	uint32_t lookup; /* enum tg_reason of sk_lookup */
	uint32_t outlives;
	uint32_t pad;
};
#endif
