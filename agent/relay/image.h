/* What the mesh wants of L4, immutable once sealed: (address, port) -> service -> endpoints.
 *
 * A connection keeps no pointer into an image, only to its target, whose count of live connections outlives images
 * (least request must not forget at every publish). Targets belong to the control thread's registry (target.h). */
#ifndef FP_IMAGE_H
#define FP_IMAGE_H
#include "fastpath.h"

#include "base.h"
#include "routes.h"
#include "target.h"

struct fp_service {
	uint32_t number;
	uint32_t lb; /* enum fp_lb */
	uint32_t first_endpoint;
	uint32_t endpoint_count;
	uint32_t first_view, views;
	bool by_number; /* it is found where no service has what was dialled, by the number that the kernel's row has */
	struct fp_settings settings;
	struct fp_target *counter; /* of all its connections; NULL unless their number is bounded */
	uint32_t turn_count;       /* length of turns; 0 = nothing can be chosen */
	const uint32_t *turns;     /* endpoint numbers (relative), each as often as its weight says */
	/* round robin; the only word of an image that changes */
	_Alignas(FP_CACHELINE) _Atomic uint64_t cursor;
};

struct fp_address {
	struct tg_addr addr;
	uint16_t port_be;
	uint16_t used;
	uint32_t service; /* index into services */
};

struct fp_place {
	uint32_t number;
	uint32_t service; /* index into services */
};

struct fp_image {
	uint64_t generation;
	struct fp_image *next_retired;
	struct fp_service *services;
	uint32_t service_count, service_room;
	struct fp_endpoint *endpoints;
	uint32_t endpoint_count, endpoint_room;
	struct fp_address *addresses;
	uint32_t address_count, address_room;
	struct fp_address *table; /* open addressing; made by fp_image_seal */
	uint32_t table_mask;
	struct fp_place *numbered; /* services that are found by number, ascending */
	uint32_t numbered_count;
	uint32_t *turns; /* one arena for all services */
	struct fp_routes routes;
};

/* What a connection is, as far as routes look at it. */
struct fp_asked {
	struct tg_addr dst; /* as dialled */
	uint64_t client;    /* netns cookie of the pod */
	const char *name;   /* said in a ClientHello; NULL = none */
	uint32_t draw;      /* any number: which of several targets it gets, for as long as these stay the same */
};

/* Builds the hash table and the turns. -EEXIST if two services claim one address, -ENOMEM. */
fp_must_check int fp_image_seal(struct fp_image *image);
/* Point endpoints and counters to their targets in the registry. -ENOMEM leaves all of them unbound. */
fp_must_check int fp_image_bind(struct fp_image *image, struct fp_registry *registry);
void fp_image_unbind(struct fp_image *image);
/* A view of the service that was started last, to be filled by the calls of routes.h before anything else is added. -EINVAL, -ENOMEM. */
fp_must_check int fp_image_view(struct fp_image *image);
/* Read-only. The service that has this address; else the one of that number, if it is found so; else NULL. */
struct fp_service *fp_image_find(const struct fp_image *image, const struct tg_addr *addr, uint16_t port_be,
				 uint32_t number);
/* What a client sees of a service; NULL: nothing but the service itself. */
const struct fp_view *fp_image_view_of(const struct fp_image *image, const struct fp_service *service,
				       uint64_t netns_cookie);
/* Whose endpoints a connection to a service gets. False: no rule is for it. ret_service: NULL = nobody's. */
fp_must_check bool fp_image_route(const struct fp_image *image, struct fp_service *dialled,
				  const struct fp_asked *asked, struct fp_service **ret_service);
#endif
