/* The facts of a captured connection: who dialled what. The kernel's record of it was written before the SYN left. */
#ifndef FP_FLOW_H
#define FP_FLOW_H
#include "../../bpf/include/tg_abi.h"
#include "base.h"

struct fp_sandbox;

struct fp_flow {
	struct tg_addr client; /* the pod's address, as the server sees it; without a record the peer of the listener */
	struct tg_addr source; /* the application's own choice of it; unset = the pod's routes choose */
	struct tg_addr dst;    /* as dialled: what routes the connection; unset without a record */
	uint32_t service;      /* number that the kernel's table had for dst; 0 = none */
	uint16_t client_port_be;
	uint16_t dst_port_be;
};

/* -ENOENT if nobody recorded this connection; then only the peer is known. flows_fd: map tg_flows; fd: as accepted. */
fp_must_check int fp_flow_identify(int flows_fd, const struct fp_sandbox *sandbox, int fd, const struct tg_addr *peer,
				   uint16_t peer_port_be, struct fp_flow *ret_flow);
#endif
