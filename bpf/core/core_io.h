/* What a decision is told and what it answers. Same subset as tg_abi.h, so that tests can build and read these values. */
#ifndef TG_CORE_IO_H
#define TG_CORE_IO_H
#ifndef TG_ABI_CDEF
#include "../include/tg_abi.h"
#endif

enum tg_action {
	TG_ACTION_PASS = 1,     /* leave the connection as the application wants it */
	TG_ACTION_REDIRECT = 2, /* connect to tg_connect_out.to instead */
	TG_ACTION_DENY = 3      /* connect() fails */
};

/* A connect() call, before anything happened. */
struct tg_connect_in {
	struct tg_addr dst;    /* as dialled */
	struct tg_addr bound;  /* address that the socket is bound to; all zero if none */
	uint64_t cgroup;       /* id of the calling task's cgroup */
	uint32_t protocol;     /* IPPROTO_*; 0 for a socket that is not SOCK_STREAM */
	uint32_t bound_dev_if; /* SO_BINDTODEVICE; 0 = none */
	uint16_t dst_port_be;
	/* sk_lookup leads every capture address of the destination's tier to its listener */
	uint16_t spread;
	uint16_t elsewhere; /* the row is that of addresses that nobody in the registry has */
	uint16_t range;     /* the row is one of tg_ranges */
};

struct tg_connect_out {
	uint32_t action;   /* enum tg_action */
	uint32_t reason;   /* enum tg_reason */
	struct tg_addr to; /* TG_ACTION_REDIRECT only, else all zero */
	uint16_t to_port_be;
	uint16_t pad;
	uint32_t pad2;
	struct tg_flow flow; /* what to remember about the connection; TG_ACTION_REDIRECT only */
};

/* An established connection as one of its ends sees it. */
struct tg_conn {
	struct tg_addr local;
	struct tg_addr remote;
	uint16_t local_port_be;
	uint16_t remote_port_be;
	uint32_t pad;
};

/* A SYN that arrives at a pod, as far as sk_lookup looks at it. */
struct tg_arrival {
	struct tg_conn conn;
	uint64_t own;     /* cookie of the pod's netns */
	uint64_t node;    /* and of the node's; 0 = nobody is there */
	uint64_t caller;  /* of the socket that connects; 0 = nobody wrote it down */
	uint32_t guarded; /* policies are for the pod */
	uint32_t probed;  /* the node may probe this port */
	uint32_t inbound; /* Envoy stands in front of this port */
	uint32_t pad;
};

/* An address that a name hook shows instead of the kernel's. */
struct tg_name_out {
	uint32_t reason;  /* enum tg_reason; TG_REASON_COUNT = show what the kernel has */
	uint16_t port_be; /* of a peer; 0 = leave the port alone */
	uint16_t pad;
	struct tg_addr addr;
};
#endif
