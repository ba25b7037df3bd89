/* One endpoint address with its live connections, shared by all images that name it and by all workers.
 *
 * Only the control thread adds and frees targets. Workers change `live` and nothing else: a worker that counts up holds
 * the image (hazard pointer), and a count above zero keeps the target alive after that. */
#ifndef FP_TARGET_H
#define FP_TARGET_H
#include "../../bpf/include/tg_abi.h"
#include "base.h"

struct fp_target {
	/* connections being made or relayed, to it or (a counter) of it */
	_Alignas(FP_CACHELINE) _Atomic uint32_t live;
	/* What one service knows of an endpoint (health.h), in an entry of its own */
	_Atomic uint32_t failures;     /* of connecting, in a row */
	_Atomic uint32_t times_out;    /* how often it was left out */
	_Atomic uint64_t out_until_ns; /* CLOCK_MONOTONIC; 0 = it never was */
	_Alignas(FP_CACHELINE) struct fp_target *next;
	struct tg_addr addr;
	uint16_t port_be;
	uint16_t pad;
	uint32_t of;     /* number of the service whose own entry it is; 0 = everybody's */
	uint32_t images; /* images that name it; control thread only */
	uint32_t serial; /* its own as long as the process lives; never 0 */
};

struct fp_endpoint {
	struct tg_addr addr;
	uint16_t port_be;
	uint16_t pad;
	uint32_t weight;
	struct tg_addr other;      /* where it can be reached too, in the other family; unset = nowhere */
	struct fp_target *target;  /* set by fp_registry_bind */
	struct fp_target *watched; /* its service's own entry, if that leaves endpoints out */
};

struct fp_registry {
	struct fp_target **slots;
	uint32_t mask;
	uint32_t count;
	uint32_t last_serial;
};

/* The target of an address, or a service's own entry of it, with one image more that names it; NULL without memory. */
fp_must_check struct fp_target *fp_registry_obtain(struct fp_registry *registry, const struct tg_addr *addr,
						   uint16_t port_be, uint32_t of);
/* Point each of an image's endpoints to its target. -ENOMEM leaves all of them unbound. */
fp_must_check int fp_registry_bind(struct fp_registry *registry, struct fp_endpoint *endpoints, uint32_t count);
void fp_registry_unbind(struct fp_endpoint *endpoints, uint32_t count);
/* Free targets that no image names and no connection uses. */
void fp_registry_sweep(struct fp_registry *registry);
void fp_registry_clear(struct fp_registry *registry);
#endif
