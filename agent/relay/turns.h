/* Weights as turns: a list of endpoints, each as often as its weight says. */
#ifndef FP_TURNS_H
#define FP_TURNS_H
#include "target.h"

/* How many turns endpoints with these weights need, and the turns themselves (endpoint numbers, spread evenly).
 * Equal weights give each endpoint one turn; weight 0 gives none. */
uint32_t fp_turns_count(const struct fp_endpoint *endpoints, uint32_t count);
/* -ENOMEM */
fp_must_check int fp_turns_fill(const struct fp_endpoint *endpoints, uint32_t count, uint32_t *turns,
				uint32_t turn_count);
#endif
