/* Turns and picks: exact round robin, weights, least request, and what was tried already. */
#include <string.h>

#include "../../../agent/relay/lb.h"
#include "../../../agent/relay/turns.h"
#include "check.h"

enum { MANY = 3000 };

static struct fp_target targets[MANY];
static struct fp_endpoint endpoints[MANY];
static uint32_t turns[4 * MANY];
static uint32_t hits[MANY];

static struct fp_service prepare(uint32_t count, const uint32_t *weights, uint32_t lb)
{
	for (uint32_t i = 0; i < count; i++) {
		targets[i] = (struct fp_target){ .images = 1, .serial = i + 1 };
		endpoints[i] = (struct fp_endpoint){ .weight = weights ? weights[i] : 1, .target = &targets[i] };
		memcpy(endpoints[i].addr.ip, &i, sizeof(i));
		hits[i] = 0;
	}
	uint32_t turn_count = fp_turns_count(endpoints, count);
	CHECK(turn_count <= 4 * MANY);
	CHECK(fp_turns_fill(endpoints, count, turns, turn_count) == 0);
	return (struct fp_service){ .lb = lb, .endpoint_count = count, .turn_count = turn_count, .turns = turns };
}

static const struct fp_image image = { .endpoints = endpoints };

static uint64_t client;

static uint32_t pick(struct fp_service *service, struct fp_target *const *tried, uint32_t tried_count)
{
	static struct fp_random random = { 42 };
	const struct fp_endpoint *chosen = fp_lb_pick(&image, service, client, &random, tried, tried_count);
	return chosen ? (uint32_t)(chosen - endpoints) : UINT32_MAX;
}

static void weights_become_turns(void)
{
	struct fp_service service = prepare(4, (uint32_t[]){ 30, 10, 0, 20 }, FP_LB_ROUND_ROBIN);
	CHECK(service.turn_count == 6); /* divided by 10 */
	for (int i = 0; i < 6; i++)
		hits[pick(&service, NULL, 0)]++;
	CHECK(hits[0] == 3 && hits[1] == 1 && hits[2] == 0 && hits[3] == 2);

	/* A heavy endpoint does not get its turns in a row. */
	service = prepare(2, (uint32_t[]){ 2, 2 }, FP_LB_ROUND_ROBIN);
	CHECK(service.turn_count == 2);
	service = prepare(3, (uint32_t[]){ 2, 1, 1 }, FP_LB_ROUND_ROBIN);
	CHECK(turns[0] != turns[1] && turns[1] != turns[2] && turns[2] != turns[3]);

	/* Weights without a common divisor are scaled, and nobody with a weight is left out. */
	service = prepare(3, (uint32_t[]){ 1, 4000000000u, 999999937u }, FP_LB_ROUND_ROBIN);
	CHECK(service.turn_count >= 1024 && service.turn_count <= 1027);
	for (uint32_t i = 0; i < service.turn_count; i++)
		hits[turns[i]]++;
	CHECK(hits[0] == 1 && hits[1] > 815 && hits[1] < 823);

	service = prepare(2, (uint32_t[]){ 0, 0 }, FP_LB_RANDOM);
	CHECK(service.turn_count == 0 && pick(&service, NULL, 0) == UINT32_MAX);
	service = prepare(0, NULL, FP_LB_LEAST_REQUEST);
	CHECK(service.turn_count == 0 && pick(&service, NULL, 0) == UINT32_MAX);

	service = prepare(MANY, NULL, FP_LB_ROUND_ROBIN);
	CHECK(service.turn_count == MANY);
	for (uint32_t i = 0; i < MANY; i++)
		CHECK(pick(&service, NULL, 0) == i);
}

static void random_is_even(void)
{
	struct fp_service service = prepare(10, NULL, FP_LB_RANDOM);
	for (int i = 0; i < 100000; i++)
		hits[pick(&service, NULL, 0)]++;
	for (int i = 0; i < 10; i++)
		CHECK(hits[i] > 9500 && hits[i] < 10500); /* standard deviation 95 */
}

static void least_request_prefers_the_idle(void)
{
	struct fp_service service = prepare(2, NULL, FP_LB_LEAST_REQUEST);
	atomic_store(&targets[0].live, 1);
	for (int i = 0; i < 1000; i++)
		CHECK(pick(&service, NULL, 0) == 1);

	/* Weight 3 may have three times the connections. */
	service = prepare(2, (uint32_t[]){ 3, 1 }, FP_LB_LEAST_REQUEST);
	for (int i = 0; i < 4000; i++) {
		uint32_t chosen = pick(&service, NULL, 0);
		atomic_fetch_add(&targets[chosen].live, 1);
	}
	CHECK(atomic_load(&targets[0].live) > 2900 && atomic_load(&targets[0].live) < 3100);

	/* Two choices keep 20 endpoints within a few connections of each other. */
	service = prepare(20, NULL, FP_LB_LEAST_REQUEST);
	for (int i = 0; i < 20000; i++)
		atomic_fetch_add(&targets[pick(&service, NULL, 0)].live, 1);
	for (int i = 0; i < 20; i++)
		CHECK(atomic_load(&targets[i].live) > 990 && atomic_load(&targets[i].live) < 1010);
}

static void tried_ones_are_not_picked_again(void)
{
	for (uint32_t lb = FP_LB_LEAST_REQUEST; lb <= FP_LB_SOURCE; lb++) {
		struct fp_service service = prepare(3, (uint32_t[]){ 100, 1, 1 }, lb);
		struct fp_target *tried[3] = { &targets[0], &targets[2], &targets[1] };
		atomic_store(&targets[1].live, 1000); /* busy, but the only one left */
		for (int i = 0; i < 1000; i++) {
			CHECK(pick(&service, tried, 1) != 0);
			CHECK(pick(&service, tried, 2) == 1);
			CHECK(pick(&service, tried, 3) == UINT32_MAX);
		}
	}
}

/* The same client gets the same endpoint; one that comes or goes moves only clients of its own. */
static void a_client_keeps_its_endpoint(void)
{
	enum { CLIENTS = 20000, ALL = 10 };
	static uint32_t had[CLIENTS];
	struct fp_service service = prepare(ALL, NULL, FP_LB_SOURCE);
	for (client = 0; client < CLIENTS; client++) {
		had[client] = pick(&service, NULL, 0);
		hits[had[client]]++;
		CHECK(pick(&service, NULL, 0) == had[client]);
	}
	for (int i = 0; i < ALL; i++)
		CHECK(hits[i] > 1850 && hits[i] < 2150); /* standard deviation 42 */

	service.endpoint_count = ALL - 1;
	for (client = 0; client < CLIENTS; client++) {
		uint32_t now = pick(&service, NULL, 0);
		CHECK(had[client] == ALL - 1 ? now < ALL - 1 : now == had[client]);
	}
	client = 0;
}

/* With an affinity also when others come; who stayed away too long, or whose endpoint went, is chosen for anew. */
static void an_affinity_outlasts_newcomers(void)
{
	enum { CLIENTS = 1000, ALL = 10 };
	struct fp_service service = prepare(ALL, NULL, FP_LB_SOURCE);
	service.settings.affinity_s = 3600;
	service.endpoint_count = 1;
	for (client = 0; client < CLIENTS; client++)
		CHECK(pick(&service, NULL, 0) == 0);
	service.endpoint_count = ALL;
	for (client = 0; client < CLIENTS; client++)
		CHECK(pick(&service, NULL, 0) == 0);
	/* Another one only because this one failed, and then that is the client's. */
	struct fp_target *tried[1] = { &targets[0] };
	for (client = 0; client < CLIENTS; client++) {
		uint32_t other = pick(&service, tried, 1);
		CHECK(other != 0 && pick(&service, NULL, 0) == other);
		hits[other]++;
	}
	for (int i = 1; i < ALL; i++)
		CHECK(hits[i] > 70 && hits[i] < 160); /* 111, standard deviation 10 */
	client = 0;
}

int main(void)
{
	an_affinity_outlasts_newcomers();
	a_client_keeps_its_endpoint();
	weights_become_turns();
	random_is_even();
	least_request_prefers_the_idle();
	tried_ones_are_not_picked_again();
	return 0;
}
