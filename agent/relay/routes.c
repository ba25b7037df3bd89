#include "routes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "room.h"

int fp_routes_view(struct fp_routes *routes)
{
	int rc = FP_ROOM(routes, views, view_count, view_room);
	if (!rc)
		routes->views[routes->view_count++] =
			(struct fp_view){ .first_client = routes->client_count, .first_rule = routes->rule_count };
	return rc;
}

static struct fp_view *last_view(struct fp_routes *routes)
{
	return routes->view_count ? &routes->views[routes->view_count - 1] : NULL;
}

static struct fp_rule *last_rule(struct fp_routes *routes)
{
	struct fp_view *view = last_view(routes);
	return view && view->rules ? &routes->rules[routes->rule_count - 1] : NULL;
}

int fp_routes_client(struct fp_routes *routes, uint64_t netns_cookie)
{
	struct fp_view *view = last_view(routes);
	if (!view || view->rules || (view->clients && routes->clients[routes->client_count - 1] >= netns_cookie))
		return -EINVAL;
	int rc = FP_ROOM(routes, clients, client_count, client_room);
	if (rc)
		return rc;
	routes->clients[routes->client_count++] = netns_cookie;
	view->clients++;
	return 0;
}

int fp_routes_rule(struct fp_routes *routes)
{
	struct fp_view *view = last_view(routes);
	int rc = view ? FP_ROOM(routes, rules, rule_count, rule_room) : -EINVAL;
	if (rc)
		return rc;
	routes->rules[routes->rule_count++] = (struct fp_rule){ .first_subnet = routes->subnet_count,
								.first_name = routes->name_count,
								.first_target = routes->target_count };
	view->rules++;
	return 0;
}

int fp_routes_subnet(struct fp_routes *routes, const struct fp_file_subnet *subnet)
{
	struct fp_rule *rule = last_rule(routes);
	if (!rule || subnet->bits > 128 || subnet->pad)
		return -EINVAL;
	int rc = FP_ROOM(routes, subnets, subnet_count, subnet_room);
	if (rc)
		return rc;
	routes->subnets[routes->subnet_count++] = *subnet;
	rule->subnets++;
	return 0;
}

int fp_routes_name(struct fp_routes *routes, const struct fp_file_name *name)
{
	struct fp_rule *rule = last_rule(routes);
	if (!rule || !name->text[0] || name->text[FP_NAME_MAX])
		return -EINVAL;
	int rc = FP_ROOM(routes, names, name_count, name_room);
	if (rc)
		return rc;
	routes->names[routes->name_count++] = *name;
	rule->names++;
	last_view(routes)->named = true;
	return 0;
}

int fp_routes_target(struct fp_routes *routes, uint32_t number, uint32_t weight)
{
	struct fp_rule *rule = last_rule(routes);
	if (!rule || !weight)
		return -EINVAL;
	int rc = FP_ROOM(routes, targets, target_count, target_room);
	if (rc)
		return rc;
	routes->targets[routes->target_count++] =
		(struct fp_way_out){ .number = number, .weight = weight, .service = FP_NOWHERE };
	rule->targets++;
	rule->weight += weight;
	return 0;
}

void fp_routes_clear(struct fp_routes *routes)
{
	free(routes->views);
	free(routes->clients);
	free(routes->rules);
	free(routes->subnets);
	free(routes->names);
	free(routes->targets);
	*routes = (struct fp_routes){ 0 };
}

static bool has_client(const struct fp_routes *routes, const struct fp_view *view, uint64_t netns_cookie)
{
	uint32_t low = 0, high = view->clients;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		uint64_t found = routes->clients[view->first_client + middle];
		if (found == netns_cookie)
			return true;
		if (found < netns_cookie)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

const struct fp_view *fp_routes_view_of(const struct fp_routes *routes, uint32_t first_view, uint32_t views,
					uint64_t netns_cookie)
{
	for (uint32_t i = 0; i < views; i++) {
		const struct fp_view *view = &routes->views[first_view + i];
		if (!view->clients || has_client(routes, view, netns_cookie))
			return view->rules ? view : NULL;
	}
	return NULL;
}

static bool is_within(const struct tg_addr *addr, const struct fp_file_subnet *subnet)
{
	uint32_t bytes = subnet->bits / 8, bits = subnet->bits % 8;
	if (memcmp(addr->ip, subnet->addr.ip, bytes) != 0)
		return false;
	return !bits || !((addr->ip[bytes] ^ subnet->addr.ip[bytes]) >> (8 - bits));
}

/* A pattern is a name, or "*" and how names end, which have something before that. */
static bool is_meant(const char *name, const char *pattern)
{
	if (pattern[0] != '*')
		return strcmp(name, pattern) == 0;
	size_t length = strlen(name), end = strlen(pattern + 1);
	return length > end && strcmp(name + length - end, pattern + 1) == 0;
}

static bool fits(const struct fp_routes *routes, const struct fp_rule *rule, const struct tg_addr *dst,
		 const char *name)
{
	bool within = !rule->subnets, meant = !rule->names;
	for (uint32_t i = 0; i < rule->subnets && !within; i++)
		within = is_within(dst, &routes->subnets[rule->first_subnet + i]);
	for (uint32_t i = 0; within && name && i < rule->names && !meant; i++)
		meant = is_meant(name, routes->names[rule->first_name + i].text);
	return within && meant;
}

static uint32_t choose(const struct fp_routes *routes, const struct fp_rule *rule, uint32_t draw)
{
	const struct fp_way_out *targets = &routes->targets[rule->first_target];
	/* 128 bits: the sum of weights may be more than 32. */
	uint64_t point = (uint64_t)(((__uint128_t)draw * rule->weight) >> 32);
	for (uint32_t i = 0; i < rule->targets; i++) {
		if (point < targets[i].weight)
			return targets[i].service;
		point -= targets[i].weight;
	}
	return FP_NOWHERE;
}

bool fp_routes_find(const struct fp_routes *routes, const struct fp_view *view, const struct tg_addr *dst,
		    const char *name, uint32_t draw, uint32_t *ret_service)
{
	for (uint32_t i = 0; i < view->rules; i++) {
		const struct fp_rule *rule = &routes->rules[view->first_rule + i];
		if (fits(routes, rule, dst, name)) {
			*ret_service = choose(routes, rule, draw);
			return true;
		}
	}
	return false;
}
