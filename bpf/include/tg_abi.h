/* Layouts shared by BPF programs, the C fast path and Python (through cffi): declared here and nowhere else.
 *
 * Subset that clang -target bpf, gcc and cffi all read: fixed-width integers, arrays, nested structs, enums and
 * explicit pads. No attributes, bit-fields, pointers, implicit padding or #define numbers.
 * Every address is 16 bytes in network order, IPv4 as v4-mapped (::ffff:a.b.c.d, RFC 4291 2.5.5.2).
 * The suffix _be means network byte order. Map keys have named pads, so an initializer zeroes them. */
#ifndef TG_ABI_H
#define TG_ABI_H
#ifndef TG_ABI_CDEF
#include "tg_abi_prelude.h"
#endif

enum tg_abi {
	/* raised with the meaning or the layout of any row, with a step in tidegate/bpf/migrations.py */
	TG_ABI_VERSION = 6,
	TG_MAX_PODS = 4096,       /* enrolled pods of one node */
	TG_MAX_DESTS = 131072,    /* (address, port) rows */
	TG_MAX_RANGES = 16384,    /* (network, port) rows */
	TG_MAX_FLOWS = 131072,    /* captured connections whose listener may still ask for the destination */
	TG_MAX_WISHES = 32768,    /* captured connections whose client set TCP options */
	TG_MAX_LISTENERS = 16384, /* our listeners in pods: two tiers, two families */
	TG_MAX_INBOUND = 65536,   /* ports of pods at which Envoy stands in front of the application */
	TG_MAX_GUARDS = 65536,    /* pods of a node that policies are for, and ports of their probes */
	TG_MAX_CALLERS = 65536,   /* connections to such pods whose handshake is not over */
	TG_MAX_RESOLVERS = 65536, /* resolvers that pods ask, all pods together */
	TG_MAX_REASONS = 64       /* slots of tg_counters: room for reasons that later versions append */
};

/* What serves a destination: value of tg_dest.tier. */
enum tg_tier {
	TG_TIER_DIRECT = 1,   /* leave the connection alone */
	TG_TIER_FASTPATH = 2, /* C fast path: L4 */
	TG_TIER_ENVOY = 3,    /* Envoy: L7 */
	TG_TIER_REFUSE = 4    /* nobody: connect() fails, because no endpoint is ready */
};

/* Protocol of a destination: IPPROTO_* as the kernel numbers them. */
enum tg_protocol { TG_PROTOCOL_TCP = 6, TG_PROTOCOL_UDP = 17 };

enum tg_pod_flag {
	TG_POD_V6_CAPTURE = 1,   /* the v6 capture prefix is routed to the pod's lo */
	TG_POD_REGISTRY_ONLY = 2 /* destinations without a row are refused */
};

struct tg_addr {
	uint8_t ip[16];
};

/* Map tg_pods (hash): netns cookie -> enrolled pod. Written by the agent, read by every hook. */
struct tg_pod_key {
	uint64_t netns_cookie;
};

struct tg_pod {
	struct tg_addr ip4;    /* the pod's own IPv4 address, v4-mapped; all zero if it has none */
	struct tg_addr ip6;    /* the pod's own IPv6 address; all zero if it has none */
	uint16_t fastpath4_be; /* listener ports inside the pod's netns; 0 = no listener */
	uint16_t fastpath6_be;
	uint16_t envoy4_be;
	uint16_t envoy6_be;
	uint32_t flags; /* enum tg_pod_flag */
	uint32_t scope; /* of its rows in tg_dests; 0 = everybody's */
};

/* Map tg_dests (hash): destination -> tier. port 0 is the row for any port of an address, and everybody's whatever the
 * scope; address :: is the row for every address that has no other, for pods that may reach the registry only. Written
 * by the agent. */
struct tg_dest_key {
	struct tg_addr addr;
	uint16_t port_be;
	uint8_t protocol; /* enum tg_protocol */
	uint8_t scope;    /* tg_pod.scope */
};

struct tg_dest {
	uint32_t tier;    /* enum tg_tier */
	uint32_t service; /* the compiler's number for the service; for events and `tidegate services` */
};

/* Map tg_ranges (LPM trie): a port of all addresses of a network -> tier; asked when tg_dests has no row, of several the
 * longest prefix. :: with no bits is every address of both families. Value: struct tg_dest. Written by the agent. */
struct tg_range_key {
	uint32_t
		bits; /* that have to be the same from here on: TG_RANGE_BITS and the prefix's of addr (of IPv4 96 more) */
	uint16_t port_be;
	uint8_t protocol; /* enum tg_protocol */
	uint8_t scope;    /* tg_pod.scope */
	struct tg_addr addr;
};

enum tg_range {
	TG_RANGE_BITS = 32, /* of port, protocol and scope */
	/* What Envoy sees as the client's port of a connection that a range led to it: which routes it has depends on the
	 * port that was dialled and not on the address. No other connection is shown with it. */
	TG_RANGE_CLIENT_PORT = 1
};

/* One layout for ever (bpf/README.md): new meaning goes into pads, 0 = as before.
 * Map tg_flows (LRU hash): the 4-tuple of a captured connection -> what its client dialled. The kernel gives one source
 * port to several connections when their destinations differ, so the listener is part of the key: its address by tier (and
 * by the family of src), its port as it is. Written by sockops when the source port is known and before the SYN leaves;
 * removed when the connection is gone on both sides. */
struct tg_flow_key {
	uint64_t netns_cookie;
	struct tg_addr src; /* as the listener sees it, e.g. 127.0.0.1 */
	uint16_t src_port_be;
	uint16_t listener_port_be;
	/* enum tg_tier; above its 8 bits tg_addr_spread() of the capture address, 0 = the listener's own */
	uint32_t tier;
};

/* Map tg_listeners (socket hash): our listeners in pods, by themselves as they listen and as long as they do. */
struct tg_listener_key {
	uint64_t netns_cookie;
	uint32_t tier; /* enum tg_tier */
	uint32_t v6;
};

/* Map tg_inbound (hash): a port of a pod -> whatever comes there from elsewhere goes to Envoy's other listener in the pod.
 * Written by the agent, read by sk_lookup. Where that listens: map tg_inbound_listeners (socket hash, tg_listener_key). */
struct tg_inbound_key {
	uint64_t netns_cookie;
	uint16_t port_be;
	uint16_t pad;
	uint32_t v6;
};

struct tg_inbound {
	uint32_t tier; /* TG_TIER_ENVOY */
};

/* Map tg_guards (hash): a pod that policies are for (port 0) -> whatever comes to it from elsewhere goes to the relay's listener
 * in it; beside that, a port at which the node's probes are let pass. Written by the agent, read by sk_lookup. */
struct tg_guard_key {
	uint64_t netns_cookie;
	uint16_t port_be;
	uint16_t pad;
	uint32_t pad2;
};

enum tg_guard_kind {
	TG_GUARD_JUDGED = 1, /* of port 0 */
	TG_GUARD_PROBED = 2  /* of a port */
};

struct tg_guard {
	uint32_t kind; /* enum tg_guard_kind */
};

/* Map tg_guarded (hash): an address of such a pod -> that its callers are written down. Written by the agent, read by sockops. */
struct tg_guarded_key {
	struct tg_addr addr;
};

struct tg_guarded {
	uint64_t netns_cookie; /* of the pod that has it */
};

/* Map tg_callers (LRU hash): a connection to such an address -> whose socket it comes from. Written by sockops before the SYN
 * leaves, and kept with the socket that accepts it (map tg_called, socket storage) as soon as there is one. */
struct tg_caller_key {
	struct tg_addr src;
	struct tg_addr dst;
	uint16_t src_port_be;
	uint16_t dst_port_be;
	uint32_t pad;
};

struct tg_caller {
	/* of the socket that connects, as the kernel has it; 0 = none, in what the relay writes */
	uint64_t netns_cookie;
	struct tg_addr
		client; /* shown to whoever accepts in place of the caller: the relay says for whom it calls; all zero = nobody */
	uint16_t client_port_be;
	uint16_t pad;
	uint32_t id; /* of the connection, as in tg_flow */
};

enum tg_flow_flag {
	TG_FLOW_WISHES = 1,    /* the client had set TCP options before it connected: it has a row in tg_wishes */
	TG_FLOW_ELSEWHERE = 2, /* nobody in the registry has dst: Envoy is told no address */
	TG_FLOW_RANGE = 4      /* a row of tg_ranges led here */
};

struct tg_flow {
	struct tg_addr dst;    /* original destination */
	struct tg_addr client; /* shown as the client's: the pod's own; to the fast path what was bound */
	uint16_t dst_port_be;
	uint16_t flags; /* enum tg_flow_flag */
	uint32_t tier;  /* enum tg_tier */
	uint32_t service;
	/* of the connection: whoever removes the record must mean this one; 0 = of a version before */
	uint32_t id;
};

/* Map tg_ends (socket storage of what a listener accepted): the record that it is the other end of. */
struct tg_end {
	uint32_t id;
	uint32_t pad;
};

/* Map tg_socks (socket storage of a captured client socket): survives as long as the socket. */
struct tg_sock {
	struct tg_flow_key key; /* all zero until sockops recorded the flow */
	struct tg_flow flow;
};

/* Map tg_wishes (LRU hash): tg_flow_key -> what the application set on its socket that is meant for the way to the server.
 * Written by the setsockopt hook and by sockops, only for sockets that set any of it; read by the relay, which does the
 * same to its own socket towards the endpoint. The same before the socket is connected: map tg_wanted (socket storage). */
enum tg_wish {
	TG_WISH_KEEPALIVE = 1,     /* SO_KEEPALIVE; each bit: this field was set */
	TG_WISH_IDLE = 2,          /* TCP_KEEPIDLE */
	TG_WISH_INTERVAL = 4,      /* TCP_KEEPINTVL */
	TG_WISH_PROBES = 8,        /* TCP_KEEPCNT */
	TG_WISH_USER_TIMEOUT = 16, /* TCP_USER_TIMEOUT */
	TG_WISH_TOS = 32,          /* IP_TOS, IPV6_TCLASS: the last one that was set */
	TG_WISH_HOPS = 64,         /* IP_TTL, IPV6_UNICAST_HOPS: likewise */
	TG_WISH_SEGMENT = 128,     /* TCP_MAXSEG; counts before connect() only, as the next one */
	TG_WISH_SYN_RETRIES = 256  /* TCP_SYNCNT */
};

struct tg_wishes {
	uint32_t set;       /* enum tg_wish */
	uint32_t keepalive; /* 0 or 1 */
	uint32_t idle_s;
	uint32_t interval_s;
	uint32_t probes;
	uint32_t user_timeout_ms;
	uint32_t tos;
	uint16_t max_segment; /* 0 = the system's */
	uint8_t syn_retries;
	uint8_t hops; /* 0 = the system's */
};

/* Names: what a pod asks of a resolver on port 53 goes to the node's DNS, which answers names of the registry and hands on
 * the rest (bpf/README.md). */
enum tg_dns_limit {
	TG_DNS_PORT = 53,
	TG_DNS_SLOTS = 32,      /* resolvers of one pod; a power of two */
	TG_DNS_PROBES = 4,      /* slots that one resolver may have */
	TG_DNS_STALE_MS = 1000, /* a beat that is older means that nobody is there */
	TG_DNS_HALF = 5         /* in a v6 capture address where tiers have their number: a resolver's slot */
};

/* Map tg_dns (array of 1). Written by the node's DNS as long as it and the agent are well. */
struct tg_dns {
	uint64_t beat_ns; /* of the kernel's monotonic clock, when it was well; 0 = it has left */
	uint64_t cgroup;  /* id of its cgroup: its own questions are not captured; 0 = none */
};

/* Map tg_resolvers (hash): a slot of a pod -> the resolver that it stands for. Written by the hook that first sees the
 * resolver, never changed, removed by the agent when the pod is captured no more. So an address means the same as long as
 * there may be a socket that knows it. */
struct tg_resolver_key {
	uint64_t netns_cookie;
	uint32_t slot;
	uint32_t v6;
};

struct tg_resolver {
	struct tg_addr addr;
};

/* Map tg_dns_sockets (socket hash): where the node's DNS listens in a pod. It is the liveness too: the kernel takes out a
 * socket that closes, whatever becomes of its process. */
struct tg_dns_socket_key {
	uint64_t netns_cookie;
	uint32_t protocol; /* enum tg_protocol */
	uint32_t v6;
};

/* Map tg_settings (array of 1). Written by the agent at start, before links are attached or adopted. */
struct tg_settings {
	uint64_t agent_cgroup; /* cgroup ids (inode of the cgroup v2 directory) that hooks leave alone */
	uint64_t envoy_cgroup;
	uint32_t abi_version; /* at this offset in every version */
	uint32_t pad;
	uint64_t node_netns; /* cookie: where the node's own processes are, kubelet among them; 0 = nobody is */
};
#endif
