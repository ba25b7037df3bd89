/* Public face of the C fast path: the only header that Python (cffi) and tests include.
 *
 * Threads: one worker per configured CPU, each with its own epoll, connections and buffers. Calls below may come
 * from any other thread (Python, GIL released by cffi); those that change something take turns on a mutex that workers
 * never see. Nothing calls back into Python: counters are read, events are drained from rings after fp_event_fd became
 * readable. Functions return 0 or a negative errno; outputs (ret_) are untouched
 * on failure. Addresses are struct tg_addr (16 bytes, network order, IPv4 v4-mapped). */
#ifndef FASTPATH_H
#define FASTPATH_H
#ifndef TG_ABI_CDEF
#include "../../bpf/include/tg_abi.h"
#endif
#include "fp_reason.h"

struct fp_engine;
struct fp_image;

enum fp_lb {
	FP_LB_LEAST_REQUEST = 0, /* two random choices, fewer live connections wins */
	FP_LB_ROUND_ROBIN = 1,
	FP_LB_RANDOM = 2
};

struct fp_config {
	uint32_t workers;            /* threads; 0 = one per usable CPU */
	int32_t flows_fd;            /* map tg_flows (borrowed) */
	uint32_t max_connections;    /* per engine; 0 = 65536. A pod gets twice what is free */
	uint32_t buffer_bytes;       /* of one read, and per direction and connection while data waits; 0 = 262144 */
	uint32_t connect_timeout_ms; /* of each attempt; 0 = 10000 */
	uint32_t pool_mib;           /* bound of all buffers together, MiB; 0 = 256. Beyond it bytes wait in the sockets */
	uint32_t each_event;         /* 1 = events per connection (access log); 0 = those of connections alike are summed */
	uint32_t report_ms;          /* how often a live connection is told about, to the next second; 0 = 5000 */
};

struct fp_pod {
	uint64_t netns_cookie;
	int32_t netns_fd;   /* borrowed for the call; the engine keeps a duplicate */
	uint32_t flags;     /* enum tg_pod_flag */
};

struct fp_ports {
	uint16_t port4_be;  /* listener on TG_CAPTURE4_FASTPATH_IP inside the pod */
	uint16_t port6_be;  /* 0 without TG_POD_V6_CAPTURE */
};

struct fp_stats {
	uint64_t accepted;
	uint64_t active;
	uint64_t bytes_to_server;
	uint64_t bytes_to_client;
	uint64_t events_lost;      /* connections not told: ring full */
	uint64_t closed[FP_REASON_COUNT];
};

/* What is new of one connection since it was told about last, or the sum of that over several that differ in client port
 * and time only (fp_config.each_event). A connection is told about when it ended and, while it lives, every report_ms
 * that brought something new. */
struct fp_event {
	struct tg_addr client;     /* the pod's address, as the server saw it */
	struct tg_addr dst;        /* as dialled */
	struct tg_addr endpoint;   /* as chosen; all zero if none was */
	uint64_t netns_cookie;
	uint64_t started_ns;       /* CLOCK_REALTIME; of the first */
	uint64_t duration_ns;      /* of those that ended; sum, as are the bytes */
	uint64_t bytes_to_server;  /* new ones, as in the next field */
	uint64_t bytes_to_client;
	uint64_t earlier_to_server; /* told before; only with each_event */
	uint64_t earlier_to_client;
	uint32_t service;          /* number given in fp_image_service */
	uint32_t reason;           /* enum fp_reason; of live connections FP_CLOSE_OK, so that they are alike */
	uint32_t opened;           /* how many this event is the first to tell about */
	uint32_t connections;      /* how many ended */
	uint16_t client_port_be;   /* of the first */
	uint16_t dst_port_be;
	uint16_t endpoint_port_be;
	uint16_t pad;
};

int fp_engine_start(const struct fp_config *config, struct fp_engine **ret_engine);
/* Stop accepting, give live connections drain_ms to end, reset the rest, join workers. Statistics and the last events
 * can still be read; nothing else may be called but fp_engine_free. */
void fp_engine_stop(struct fp_engine *engine, uint32_t drain_ms);
/* After fp_engine_stop. */
void fp_engine_free(struct fp_engine *engine);

/* Open listeners inside the pod's netns. -EEXIST if the cookie is known. The kernel chooses ports. */
int fp_pod_add(struct fp_engine *engine, const struct fp_pod *pod, struct fp_ports *ret_ports);
int fp_pod_remove(struct fp_engine *engine, uint64_t netns_cookie);

/* Build an immutable image, then swap it in. New connections use it at once; live ones keep their endpoint. */
int fp_image_new(uint64_t generation, struct fp_image **ret_image);
/* Start a service; following fp_image_endpoint calls belong to it. name is copied (metrics, logs). */
int fp_image_service(struct fp_image *image, uint32_t service, const char *name, uint32_t lb);
int fp_image_address(struct fp_image *image, const struct tg_addr *addr, uint16_t port_be);
int fp_image_endpoint(struct fp_image *image, const struct tg_addr *addr, uint16_t port_be, uint32_t weight);
void fp_image_free(struct fp_image *image);
/* Takes ownership of the image, also on failure. */
int fp_publish(struct fp_engine *engine, struct fp_image *image);
uint64_t fp_generation(const struct fp_engine *engine);

void fp_stats_read(const struct fp_engine *engine, struct fp_stats *ret_stats);
/* Readable some 20 ms after an event came into empty rings (sums reach them 100 ms after the first connection in them
 * ended), at once when one fills up, and after fp_engine_stop. */
int fp_event_fd(const struct fp_engine *engine);
/* Move up to max events out of the rings; returns how many. One reader. If it returns max, call again.
 * -ESHUTDOWN once the engine has stopped and all events were moved. */
int fp_events_drain(struct fp_engine *engine, struct fp_event *ret_events, uint32_t max);
const char *fp_reason_name(uint32_t reason);
#endif
