/* What the client dialled: the record that sockops wrote into tg_flows before the SYN left. */
#ifndef FP_FLOW_H
#define FP_FLOW_H
#include "../../bpf/include/tg_abi.h"
#include "base.h"

/* -ENOENT if nobody recorded this connection. */
fp_must_check int fp_flow_find(int flows_fd, const struct tg_flow_key *key, struct tg_flow *ret_flow);
#endif
