/* Which endpoint of a service takes the next connection. */
#ifndef FP_LB_H
#define FP_LB_H
#include "base.h"
#include "image.h"

struct fp_random {
	uint64_t state;
};

uint64_t fp_random_next(struct fp_random *random);

/* The endpoint for a new connection of a client (any number that stays its own), never one whose target is in tried; NULL if none is left. */
const struct fp_endpoint *fp_lb_pick(const struct fp_image *image, struct fp_service *service, uint64_t client,
				     struct fp_random *random, struct fp_target *const *tried, uint32_t tried_count);
#endif
