/* The facts of a captured connection: who dialled what. The kernel's record of it was written before the SYN left. */
#ifndef FP_FLOW_H
#define FP_FLOW_H
#include "../../bpf/include/tg_abi.h"
#include "base.h"

struct fp_sandbox;

struct fp_flow {
	/* the pod's address, as the server sees it; without a record the peer of the listener */
	struct tg_addr client;
	struct tg_addr source; /* the application's own choice of it; unset = the pod's routes choose */
	struct tg_addr dst;    /* as dialled: what routes the connection; unset without a record */
	uint32_t service;      /* number that the kernel's table had for dst; 0 = none */
	uint16_t client_port_be;
	uint16_t dst_port_be;
	/* It came to the pod from elsewhere: the client is whoever called, and dst the pod's own address. No record says so. */
	bool inbound;
	/* inbound: the netns of the socket that called, as the kernel wrote it down; 0 = it did not. Never follows from an address */
	uint64_t caller;
	struct tg_flow_key key;  /* of the record */
	struct tg_wishes wishes; /* what the client's socket was told as far as it is known; zero = nothing */
};

/* Maps of the kernel programs. */
struct fp_records {
	int flows_fd;  /* tg_flows */
	int wishes_fd; /* tg_wishes; <= 0: there is none */
	int called_fd; /* tg_called; likewise */
};

/* Say with a socket that is not connected yet for whom it calls: whoever accepts it sees that client. Negative errno. */
fp_must_check int fp_flow_call_for(int called_fd, int fd, const struct tg_addr *client, uint16_t client_port_be);
/* -ENOENT if nobody recorded this connection; then only the peer is known. fd: as accepted. */
fp_must_check int fp_flow_identify(const struct fp_records *records, const struct fp_sandbox *sandbox, int fd,
				   const struct tg_addr *peer, uint16_t peer_port_be, struct fp_flow *ret_flow);
/* Look again what its client's socket was told: an application may do so at any time. True if it is something new. */
bool fp_flow_wishes(const struct fp_records *records, struct fp_flow *flow);
#endif
