#include "turns.h"

#include <errno.h>
#include <stdlib.h>

/* Unequal weights are approximated by at most this many turns (or four per endpoint, if that is more). */
enum { FP_TURNS_MAX = 1024 };

struct weights {
	uint64_t sum;
	uint64_t divisor; /* greatest common divisor */
	uint32_t usable;  /* endpoints with a weight */
};

static struct weights weigh(const struct fp_endpoint *endpoints, uint32_t count)
{
	struct weights w = { 0 };
	for (uint32_t i = 0; i < count; i++) {
		uint64_t a = endpoints[i].weight, b = w.divisor;
		if (!a)
			continue;
		w.sum += a;
		w.usable++;
		while (b) {
			uint64_t rest = a % b;
			a = b;
			b = rest;
		}
		w.divisor = a;
	}
	return w;
}

static uint64_t most_turns(const struct weights *w)
{
	return w->usable > FP_TURNS_MAX / 4 ? (uint64_t)w->usable * 4 : FP_TURNS_MAX;
}

static uint32_t turns_of(const struct weights *w, uint32_t weight)
{
	if (!weight)
		return 0;
	uint64_t most = most_turns(w);
	if (w->sum / w->divisor <= most)
		return (uint32_t)(weight / w->divisor);
	uint64_t scaled = (weight * most + w->sum / 2) / w->sum;
	return scaled ? (uint32_t)scaled : 1;
}

uint32_t fp_turns_count(const struct fp_endpoint *endpoints, uint32_t count)
{
	struct weights w = weigh(endpoints, count);
	uint32_t turns = 0;
	for (uint32_t i = 0; i < count; i++)
		turns += turns_of(&w, endpoints[i].weight);
	return turns;
}

struct turn {
	double place;
	uint32_t endpoint;
};

static int earlier(const void *left, const void *right)
{
	const struct turn *a = left, *b = right;
	if (a->place != b->place)
		return a->place < b->place ? -1 : 1;
	return a->endpoint < b->endpoint ? -1 : a->endpoint > b->endpoint;
}

int fp_turns_fill(const struct fp_endpoint *endpoints, uint32_t count, uint32_t *turns, uint32_t turn_count)
{
	struct weights w = weigh(endpoints, count);
	struct turn *order = malloc(sizeof(*order) * (turn_count ? turn_count : 1));
	if (!order)
		return -ENOMEM;
	uint32_t n = 0;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t own = turns_of(&w, endpoints[i].weight);
		/* An endpoint's turns lie at even distances in [0, 1): heavy ones do not come in bursts. */
		for (uint32_t k = 0; k < own && n < turn_count; k++)
			order[n++] = (struct turn){ .place = (k + 0.5) / own, .endpoint = i };
	}
	qsort(order, n, sizeof(*order), earlier);
	for (uint32_t i = 0; i < n; i++)
		turns[i] = order[i].endpoint;
	free(order);
	return 0;
}
