#include "lb.h"

#include "addr.h"
#include "health.h"
#include "loop.h"
#include "seats.h"

uint64_t fp_random_next(struct fp_random *random)
{
	uint64_t z = (random->state += 0x9e3779b97f4a7c15u); /* splitmix64 */
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* Uniform below n without a division (Lemire); the bias is n / 2^32. */
static uint32_t below(struct fp_random *random, uint32_t n)
{
	return (uint32_t)(((fp_random_next(random) >> 32) * n) >> 32);
}

/* Who is not to be chosen. */
struct barred {
	struct fp_target *const *tried;
	uint32_t tried_count;
	uint64_t now_ns; /* 0 = nobody is left out for his health */
};

static bool is_barred(const struct barred *barred, const struct fp_endpoint *endpoint)
{
	for (uint32_t i = 0; i < barred->tried_count; i++) {
		if (barred->tried[i] == endpoint->target)
			return true;
	}
	return barred->now_ns && fp_health_is_out(endpoint, barred->now_ns);
}

static bool lighter(const struct fp_endpoint *a, const struct fp_endpoint *b)
{
	uint64_t load_a = atomic_load_explicit(&a->target->live, memory_order_relaxed) + 1ull;
	uint64_t load_b = atomic_load_explicit(&b->target->live, memory_order_relaxed) + 1ull;
	return load_a * b->weight <= load_b * a->weight;
}

/* Rendezvous: each client has an order of all endpoints, which depends on nothing but the two. So one that comes or goes
 * moves nobody but its own clients, in this relay and in the next. Weights say nothing but that 0 is out. */
static const struct fp_endpoint *by_client(const struct fp_endpoint *endpoints, uint32_t count, uint64_t client,
					   const struct barred *barred)
{
	const struct fp_endpoint *best = NULL;
	uint64_t best_score = 0;
	const uint64_t salt = fp_random_next(&(struct fp_random){ client });
	for (uint32_t i = 0; i < count; i++) {
		const struct fp_endpoint *endpoint = &endpoints[i];
		if (!endpoint->weight || is_barred(barred, endpoint))
			continue;
		struct fp_random both = { salt ^ fp_address_hash(&endpoint->addr, endpoint->port_be) };
		uint64_t score = fp_random_next(&both);
		if (!best || score > best_score) {
			best = endpoint;
			best_score = score;
		}
	}
	return best;
}

static const struct fp_endpoint *by_seat(const struct fp_endpoint *endpoints, const struct fp_service *service,
					 uint64_t client, const struct barred *barred)
{
	const uint64_t key = fp_seat_key(client, service->number);
	const uint32_t now_s = (uint32_t)(fp_clock_ns() / 1000000000u);
	const uint32_t serial = fp_seat_find(key, now_s, service->settings.affinity_s);
	const struct fp_endpoint *choice = NULL;
	for (uint32_t i = 0; serial && !choice && i < service->endpoint_count; i++) {
		const struct fp_endpoint *endpoint = &endpoints[i];
		if (endpoint->target->serial == serial && endpoint->weight && !is_barred(barred, endpoint))
			choice = endpoint;
	}
	if (!choice)
		choice = by_client(endpoints, service->endpoint_count, client, barred);
	if (choice)
		fp_seat_take(key, choice->target->serial, now_s);
	return choice;
}

const struct fp_endpoint *fp_lb_pick(const struct fp_image *image, struct fp_service *service, uint64_t client,
				     struct fp_random *random, struct fp_target *const *tried, uint32_t tried_count)
{
	const uint32_t turns = service->turn_count;
	if (!turns)
		return NULL;
	const struct fp_endpoint *endpoints = image->endpoints + service->first_endpoint;
	struct barred barred = { tried, tried_count, service->settings.outlier.failures ? fp_clock_ns() : 0 };
	if (barred.now_ns && fp_health_panics(image, service, barred.now_ns))
		barred.now_ns = 0;
	if (service->lb == FP_LB_SOURCE && service->settings.affinity_s)
		return by_seat(endpoints, service, client, &barred);
	if (service->lb == FP_LB_SOURCE)
		return by_client(endpoints, service->endpoint_count, client, &barred);
	uint32_t turn;
	if (service->lb == FP_LB_ROUND_ROBIN)
		turn = (uint32_t)(atomic_fetch_add_explicit(&service->cursor, 1, memory_order_relaxed) % turns);
	else
		turn = below(random, turns);
	const struct fp_endpoint *choice = &endpoints[service->turns[turn]];
	if (service->lb == FP_LB_LEAST_REQUEST && turns > 1) {
		uint32_t second = turn + 1 + below(random, turns - 1);
		const struct fp_endpoint *other = &endpoints[service->turns[second % turns]];
		if (is_barred(&barred, choice) || (!lighter(choice, other) && !is_barred(&barred, other)))
			choice = other;
	}
	for (uint32_t i = 0; i < turns && is_barred(&barred, choice); i++)
		choice = &endpoints[service->turns[(turn + 1 + i) % turns]];
	return is_barred(&barred, choice) ? NULL : choice;
}
