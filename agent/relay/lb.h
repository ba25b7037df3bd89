/* Which endpoint of a service takes the next connection. */
#ifndef FP_LB_H
#define FP_LB_H
#include "base.h"
#include "image.h"

struct fp_random {
	uint64_t state;
};

uint64_t fp_random_next(struct fp_random *random);

/* How many turns endpoints with these weights need, and the turns themselves (endpoint numbers, spread evenly).
 * Equal weights give each endpoint one turn; weight 0 gives none. */
uint32_t fp_turns_count(const struct fp_endpoint *endpoints, uint32_t count);
/* -ENOMEM */
fp_must_check int fp_turns_fill(const struct fp_endpoint *endpoints, uint32_t count, uint32_t *turns, uint32_t turn_count);

/* The endpoint for a new connection, never one whose target is in tried; NULL if none is left. */
const struct fp_endpoint *fp_lb_pick(const struct fp_image *image, struct fp_service *service, struct fp_random *random,
				     struct fp_target *const *tried, uint32_t tried_count);
#endif
