/* Which endpoints of a service are left out because connecting to them fails again and again. What is known of an endpoint is
 * its service's own: another one with the same endpoint has another limit, or none. Shared by all workers. */
#ifndef FP_HEALTH_H
#define FP_HEALTH_H
#include "image.h"

/* Whether it is left out now. now_ns: CLOCK_MONOTONIC. */
static inline bool fp_health_is_out(const struct fp_endpoint *endpoint, uint64_t now_ns)
{
	return endpoint->watched &&
	       atomic_load_explicit(&endpoint->watched->out_until_ns, memory_order_relaxed) > now_ns;
}

/* Whether so few of a service's endpoints are left that all are used. */
bool fp_health_panics(const struct fp_image *image, const struct fp_service *service, uint64_t now_ns);
/* Connecting to it was possible. */
void fp_health_good(struct fp_target *watched);
/* Connecting to it failed. It is one of the service's endpoints. */
void fp_health_bad(const struct fp_image *image, const struct fp_service *service, struct fp_target *watched,
		   uint64_t now_ns);
#endif
