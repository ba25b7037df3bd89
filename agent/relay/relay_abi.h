/* Layouts shared by the relay's process and the agent (through cffi): declared here and nowhere else.
 *
 * The control socket is SOCK_SEQPACKET, one message per packet, each beginning with struct fp_head. The agent asks, the
 * relay answers with the same kind and serial; only FP_EVENTS comes unasked. A request has exactly the size of its struct;
 * descriptors come by SCM_RIGHTS in the order given here. Ports are network order, like every name in _be.
 * Same subset as tg_abi.h: fixed-width integers, arrays, nested structs, enums, explicit pads. */
#ifndef FP_RELAY_ABI_H
#define FP_RELAY_ABI_H
#ifndef TG_ABI_CDEF
#include "../../bpf/include/tg_abi.h"
#endif
#include "fp_reason.h"
#include "policy_abi.h"

enum fp_relay_abi {
	/* Of all that follows. An agent of another version uses the core only: FP_HELLO, FP_SANDBOXES, FP_HAND_OVER, FP_DRAIN,
	 * FP_STOP, whose layouts and numbers never change. */
	FP_ABI_VERSION = 5,
	FP_MESSAGE_MAX = 65536,    /* bytes of one message */
	FP_MESSAGE_FDS = 3,        /* descriptors with one message */
	FP_EVENTS_BATCH = 300,     /* events in one message */
	FP_SANDBOXES_BATCH = 2048, /* rows in one answer to FP_SANDBOXES */
	FP_IMAGE_MAX = 268435456,  /* bytes of an image file */
	FP_NAME_MAX = 255,         /* bytes of a host name, without the 0 behind it */
	FP_FOREVER = 2147483647    /* fp_ask_drain.ms: connections end when they like */
};

enum fp_lb {
	FP_LB_LEAST_REQUEST = 0, /* two random choices, fewer live connections wins */
	FP_LB_ROUND_ROBIN = 1,
	FP_LB_RANDOM = 2,
	FP_LB_SOURCE = 3 /* by the client pod: the same endpoint as long as it is there */
};

/* Zero in a field means its default. */
struct fp_config {
	uint32_t workers; /* threads; 0 = one per usable CPU */
	/* map tg_flows (borrowed); -1 in messages, which carry the descriptor beside them */
	int32_t flows_fd;
	/* map tg_wishes likewise; messages may leave it out. <= 0: options stay the clients' */
	int32_t wishes_fd;
	/* map tg_called likewise, which is written too: whose sockets call pods, and for whom the relay does. <= 0: nobody who calls
	 * has an identity, and what is let pass is not handed on */
	int32_t called_fd;
	/* per relay; 0 = 65536. No more than descriptors allow; a pod gets twice what is free */
	uint32_t max_connections;
	/* of one read, and per direction and connection while data waits; 0 = 262144 */
	uint32_t buffer_bytes;
	uint32_t connect_timeout_ms; /* of each attempt; 0 = 10000 */
	/* bound of all buffers together, MiB; 0 = 256. Beyond it bytes wait in the sockets */
	uint32_t pool_mib;
	/* what sockets hold in the kernel together, MiB; 0 = half of where the kernel begins to press on TCP. A pod gets twice what
	 * is free; beyond it no new connection, and those of it that are stuck and hold most are reset */
	uint32_t sockets_mib;
	/* 1 = events per connection (access log); 0 = those of connections alike are summed */
	uint32_t each_event;
	uint32_t report_ms; /* how often a live connection is reported, to the next second; 0 = 5000 */
};

struct fp_ports {
	uint16_t port4_be; /* listener on TG_CAPTURE4_FASTPATH_IP inside the pod */
	uint16_t port6_be; /* 0 without TG_POD_V6_CAPTURE */
};

struct fp_stats {
	uint64_t accepted;
	uint64_t active;
	uint64_t bytes_to_server;
	uint64_t bytes_to_client;
	uint64_t events_lost;  /* connections not reported: ring full */
	uint64_t socket_bytes; /* that sockets hold in the kernel, as last seen */
	uint64_t closed[FP_REASON_COUNT];
};

/* What is new of one connection since it was reported last, or the sum of that over several that differ in client port
 * and time only (fp_config.each_event). A connection is reported when it ended and, while it lives, every report_ms
 * that brought something new. */
struct fp_event {
	struct tg_addr client;   /* the pod's address, as the server saw it */
	struct tg_addr dst;      /* as dialled */
	struct tg_addr endpoint; /* as chosen; all zero if none was */
	uint64_t netns_cookie;
	uint64_t started_ns;      /* CLOCK_REALTIME; of the first */
	uint64_t duration_ns;     /* of those that ended; sum, as are the bytes */
	uint64_t bytes_to_server; /* new ones, as in the next field */
	uint64_t bytes_to_client;
	uint64_t earlier_to_server; /* reported before; only with each_event */
	uint64_t earlier_to_client;
	uint32_t service;        /* number given in fp_file_service */
	uint32_t reason;         /* enum fp_reason; of live connections FP_CLOSE_OK, so that they are alike */
	uint32_t opened;         /* how many this event is the first to report */
	uint32_t connections;    /* how many ended */
	uint16_t client_port_be; /* of the first */
	uint16_t dst_port_be;
	uint16_t endpoint_port_be;
	uint16_t inbound; /* 1: it came to the pod, and `client` is whoever called; 0: the pod is the client */
	uint64_t
		caller; /* inbound: netns of the socket that called; 0 = nobody of this node's pods, as far as the kernel knows */
	uint64_t policies;                  /* inbound: generation of those that decided; 0 = there were none */
	struct fp_policy_decision decision; /* inbound: the last one; numbers are those of that generation */
};

/* --- the file of an image --------------------------------------------------------------------------------------------
 * A memfd sealed against writing, growing and shrinking: fp_file_head, then all services, all addresses, all endpoints, and
 * of the routes all views, clients, rules, subnets, names and targets. A service owns the next so many rows of the first three, a view
 * of clients and rules, a rule of the last three, so that its own bytes do not depend on its neighbours. */
enum fp_file_magic {
	FP_FILE_MAGIC = 1195984468, /* "TFIG" */
};

struct fp_file_head {
	uint32_t magic;
	uint32_t version; /* FP_ABI_VERSION */
	uint64_t generation;
	uint32_t services; /* rows of each kind */
	uint32_t addresses;
	uint32_t endpoints;
	uint32_t views;
	uint32_t clients;
	uint32_t rules;
	uint32_t subnets;
	uint32_t names;
	uint32_t targets;
	uint32_t pad;
};

/* TCP keep-alive of a connection to an endpoint, in the kernel's own units and limits; zero = the system's. */
struct fp_keepalive {
	uint32_t time_s;     /* 1..32767 */
	uint32_t interval_s; /* 1..32767 */
	uint32_t probes;     /* 1..127 */
};

/* Endpoints to which connecting fails again and again are left out for a while. */
struct fp_outlier {
	uint32_t failures;      /* in a row, after which one is left out; 0 = none ever is */
	uint32_t base_ms;       /* how long at first; the second time twice as long, and so on */
	uint32_t interval_ms;   /* without being left out, after which it counts as once less */
	uint32_t most_percent;  /* of the endpoints that are left out at once */
	uint32_t panic_percent; /* when fewer than so many of them are left, all are used */
};

/* What is asked of a service's connections. Zero in a field means its default. */
struct fp_settings {
	uint32_t connect_timeout_ms; /* of each attempt; 0 = fp_config's */
	uint32_t max_connections;    /* at once, those being made included; 0 = any */
	/* number of the service with which they are counted: both families of a port are one */
	uint32_t counted_as;
	/* FP_LB_SOURCE: a client keeps its endpoint, whatever comes, until it stayed away as long */
	uint32_t affinity_s;
	struct fp_keepalive keepalive;
	uint32_t idle_ms; /* a connection on which nothing moves so long is ended, both ways and in order; 0 = none */
	uint32_t duration_ms; /* a connection is ended when it is so old; 0 = none */
	struct fp_outlier outlier;
};

struct fp_file_service {
	uint32_t number;    /* comes back in fp_event.service */
	uint32_t lb;        /* enum fp_lb */
	uint32_t addresses; /* its rows; without any only routes lead to it */
	uint32_t endpoints;
	uint32_t views; /* none: whoever dials it gets its own endpoints */
	struct fp_settings settings;
};

struct fp_file_address {
	/* all zero: no address. The service is found by its number where no service has what was dialled */
	struct tg_addr addr;
	uint16_t port_be;
	uint16_t pad;
};

struct fp_file_endpoint {
	struct tg_addr addr; /* all zero: the address that was dialled, whichever it is */
	uint16_t port_be;    /* 0 beside that: the port that was */
	/* 1 = no endpoint, but the other family's address of the one in the row before; weight 0 */
	uint16_t other;
	uint32_t weight; /* 0 = never chosen */
};

/* What the clients of a service see of it: of its views the first that has the client, or has no clients. */
struct fp_file_view {
	uint32_t clients; /* its rows; 0 = it is everybody's */
	uint32_t rules;   /* its rows; 0 = the service's own endpoints */
};

struct fp_file_client {
	uint64_t netns_cookie; /* ascending within a view */
};

/* The first rule of a view whose conditions hold says where a connection goes. If none does, it is reset. */
struct fp_file_rule {
	uint32_t subnets; /* its rows: one has the address that was dialled; 0 = any */
	uint32_t names;   /* one is the name in the client's first message; 0 = any or none */
	uint32_t targets; /* one is chosen by chance and weight; 0 = it leads nowhere */
	uint32_t pad;
};

struct fp_file_subnet {
	struct tg_addr addr;
	uint32_t bits; /* of 128, so 96 more than an IPv4 prefix has */
	uint32_t pad;
};

struct fp_file_name {
	char text[256]; /* lower case, at most FP_NAME_MAX bytes and 0; "*" in front stands for one character or more */
};

struct fp_file_target {
	uint32_t number; /* fp_file_service.number of the service whose endpoints are meant */
	uint32_t weight; /* above 0 */
};

/* --- messages --------------------------------------------------------------------------------------------------------- */
enum fp_kind {
	FP_HELLO = 1,     /* fp_ask_hello -> fp_told_hello. First on every connection */
	FP_SANDBOXES = 2, /* fp_ask_sandboxes -> fp_told_sandboxes: rows in the order of cookies */
	FP_HAND_OVER = 3, /* fp_ask_sandbox -> fp_told_sandbox, netns, IPv4 listener, IPv6 listener if there is one. The
	                        * relay goes on accepting, so both do until FP_DRAIN */
	/* fp_ask_drain: close the listeners, end when the connections did or ms are over. May be repeated */
	FP_DRAIN = 4,
	FP_STOP = 5, /* fp_head: reset what lives and exit */
	/* fp_ask_configure, tg_flows, perhaps tg_wishes, perhaps tg_called. Once; later with an equal configuration: only maps are exchanged */
	FP_CONFIGURE = 6,
	FP_SANDBOX_ADD =
		7, /* fp_ask_sandbox_add, netns[, IPv4 listener, IPv6 listener if v6] -> fp_told_sandbox. Without
	                        * listeners they are opened, on the ports asked for if those are free */
	FP_SANDBOX_REMOVE = 8, /* fp_ask_sandbox: close its listeners, reset its connections */
	FP_PUBLISH =
		9, /* fp_head, file of an image. EBADMSG: malformed, EPERM: not sealed, EEXIST: two claim an address;
	                        * the image in force then stays */
	FP_STATS = 10,  /* fp_head -> fp_told_stats */
	FP_FOLLOW = 11, /* fp_head: FP_EVENTS come on this connection from now on, and on no other */
	/* fp_told_events, unasked; serial counts them. Kept until FP_EVENTS_TAKEN, then the next comes */
	FP_EVENTS = 12,
	FP_EVENTS_TAKEN = 13, /* fp_head with the serial of FP_EVENTS. Not answered */
	FP_LOOK = 14, /* fp_head: accept what waits in listeners' queues; for those that another relay accepted from */
	/* fp_head, file of policies, sealed as an image's; EBADMSG, EPERM as FP_PUBLISH. Live connections to pods are judged anew */
	FP_POLICIES = 15
};

struct fp_head {
	uint32_t kind;   /* enum fp_kind */
	uint32_t serial; /* the asker's, repeated in the answer */
	int32_t result;  /* of an answer: 0 or a negative errno, then without rows and descriptors */
	uint32_t count;  /* rows that follow the struct */
};

enum fp_relay_state {
	FP_NEW = 0, /* not configured */
	FP_SERVING = 1,
	FP_DRAINING = 2 /* without listeners; exits after its last connection once its events were taken */
};

struct fp_ask_hello {
	struct fp_head head;
	uint32_t version; /* FP_ABI_VERSION of the agent */
	uint32_t pad;
};

struct fp_told_hello {
	struct fp_head head;
	uint32_t version;    /* FP_ABI_VERSION of the relay */
	uint32_t state;      /* enum fp_relay_state */
	uint64_t generation; /* of the image in force, 0 = none */
};

struct fp_ask_sandboxes {
	struct fp_head head;
	uint64_t after; /* cookies greater than this */
};

struct fp_sandbox_row {
	uint64_t netns_cookie;
	uint32_t flags; /* enum tg_pod_flag */
	struct fp_ports ports;
};

struct fp_told_sandboxes {
	/* count rows of fp_sandbox_row follow; fewer than FP_SANDBOXES_BATCH: these are the last */
	struct fp_head head;
};

struct fp_ask_sandbox {
	struct fp_head head;
	uint64_t netns_cookie;
};

struct fp_told_sandbox {
	struct fp_head head;
	struct fp_sandbox_row sandbox;
};

struct fp_ask_drain {
	struct fp_head head;
	uint32_t ms; /* at most FP_FOREVER, which is no bound */
	uint32_t pad;
};

struct fp_ask_configure {
	struct fp_head head;
	struct fp_config config;
};

struct fp_ask_sandbox_add {
	struct fp_head head;
	struct fp_sandbox_row sandbox; /* ports: wished for, 0 = any */
};

struct fp_told_stats {
	struct fp_head head;
	struct fp_stats stats;
};

struct fp_told_events {
	struct fp_head head; /* count rows of fp_event follow */
};

const char *fp_reason_name(uint32_t reason);
#endif
