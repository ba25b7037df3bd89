/* Public face of the C fast path: what main.c, control.c and tests include. What the agent sees is relay_abi.h.
 *
 * Threads: one worker per configured CPU, each with its own epoll, connections and buffers. Calls below may come
 * from any other thread; those that change something take turns on a mutex that workers never see. Nothing calls back:
 * counters are read, events are drained from rings after fp_event_fd became readable. Functions return 0 or a negative
 * errno; outputs (ret_) are untouched on failure. Addresses are struct tg_addr (16 bytes, network order, IPv4 v4-mapped). */
#ifndef FASTPATH_H
#define FASTPATH_H
#include <stdbool.h>

#include "relay_abi.h"

struct fp_engine;
struct fp_image;
struct fp_policies;

enum { FP_LISTENER4, FP_LISTENER6, FP_LISTENERS };

/* What is known of a pod's network namespace before listeners are opened in it. */
struct fp_sandbox_config {
	uint64_t netns_cookie;
	int32_t netns_fd;       /* borrowed for the call; the engine keeps a duplicate */
	uint32_t flags;         /* enum tg_pod_flag */
	struct fp_ports wanted; /* ports to listen on if they are free; 0 = the kernel chooses */
};

int fp_engine_start(const struct fp_config *config, struct fp_engine **ret_engine);
/* Close the listeners and return; connections end by themselves or are reset after ms (FP_FOREVER: never). Counters and
 * events go on, pods can be removed; nothing can be added any more. May be called again with another bound. */
int fp_engine_drain(struct fp_engine *engine, uint32_t ms);
/* True once the last worker of a draining engine has ended. */
bool fp_engine_is_over(struct fp_engine *engine);
/* Drain for at most ms, then wait for the workers' end. Statistics and the last events can still be read; nothing else may
 * be called but fp_engine_free. */
void fp_engine_stop(struct fp_engine *engine, uint32_t ms);
/* After fp_engine_stop. */
void fp_engine_free(struct fp_engine *engine);
/* Look connections up in another map tg_flows from now on, their clients' options in another tg_wishes, and who
 * calls pods in another tg_called (-1: as before). */
int fp_engine_flows(struct fp_engine *engine, int flows_fd, int wishes_fd, int called_fd);

/* Open listeners inside the pod's netns. -EEXIST if the cookie is known. */
int fp_sandbox_add(struct fp_engine *engine, const struct fp_sandbox_config *config, struct fp_ports *ret_ports);
/* The same with listeners that another engine opened (borrowed, the second -1 without v6). -EINVAL if they are something else. */
int fp_sandbox_take(struct fp_engine *engine, const struct fp_sandbox_config *config, const int listeners[FP_LISTENERS],
		    struct fp_ports *ret_ports);
int fp_sandbox_remove(struct fp_engine *engine, uint64_t netns_cookie);
/* Up to max pods with cookies greater than `after`, in their order; returns how many. */
int fp_sandboxes(struct fp_engine *engine, uint64_t after, struct fp_sandbox_row *ret_rows, uint32_t max);
/* Duplicates for another relay, to be closed by the caller: netns, IPv4 listener, IPv6 listener or -1. This engine goes on
 * accepting. -ENOENT, or -ESHUTDOWN when it has closed them. */
int fp_sandbox_hand_over(struct fp_engine *engine, uint64_t netns_cookie, struct fp_sandbox_row *ret_row,
			 int ret_fds[1 + FP_LISTENERS]);
/* Accept what waits in the listeners' queues: connections whose arrival woke another engine, which did not take them. */
int fp_sandboxes_look(struct fp_engine *engine);

/* Build an immutable image, then swap it in. New connections use it at once; live ones keep their endpoint. */
int fp_image_new(uint64_t generation, struct fp_image **ret_image);
/* Start a service; following calls belong to it. */
int fp_image_service(struct fp_image *image, uint32_t service, uint32_t lb);
/* Of the service that was started last; without it they are the defaults. */
int fp_image_settings(struct fp_image *image, const struct fp_settings *settings);
/* All zero: no address, it is found by its number where no service has what was dialled. */
int fp_image_address(struct fp_image *image, const struct tg_addr *addr, uint16_t port_be);
/* All zero: whatever was dialled, and port 0 the port that was. */
int fp_image_endpoint(struct fp_image *image, const struct tg_addr *addr, uint16_t port_be, uint32_t weight);
/* Where the endpoint that was added last can be reached too, on the same port: once, in the other family; else -EINVAL. */
int fp_image_other(struct fp_image *image, const struct tg_addr *addr);
void fp_image_free(struct fp_image *image);
/* Takes ownership of the image, also on failure. -EEXIST if two services claim one address. */
int fp_publish(struct fp_engine *engine, struct fp_image *image);
/* Judge connections to pods by these from now on, those that live too. Takes ownership. */
int fp_policies_publish(struct fp_engine *engine, struct fp_policies *policies);
uint64_t fp_generation(const struct fp_engine *engine);

void fp_stats_read(const struct fp_engine *engine, struct fp_stats *ret_stats);
/* Readable some 20 ms after an event came into empty rings (sums reach them 100 ms after the first connection in them
 * ended), at once when one fills up, and after fp_engine_stop. */
int fp_event_fd(const struct fp_engine *engine);
/* Move up to max events out of the rings; returns how many. One reader. If it returns max, call again.
 * -ESHUTDOWN once the engine is over and all events were moved. */
int fp_events_drain(struct fp_engine *engine, struct fp_event *ret_events, uint32_t max);
#endif
