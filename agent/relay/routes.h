/* Routes of an image: for whom, for which connections, to which services. A service owns a run of views, a view a run of
 * clients and of rules, a rule a run of each of its conditions and of its targets. Which rule stands first is up to whoever made them. */
#ifndef FP_ROUTES_H
#define FP_ROUTES_H
#include "base.h"
#include "relay_abi.h"

/* What a client sees: the rules of one view. The first view that has the client counts, one without clients is everybody's. */
struct fp_view {
	uint32_t first_client, clients; /* ascending */
	uint32_t first_rule, rules;
	bool named; /* a rule looks at the name that a client says in its ClientHello */
};

/* Empty conditions are none. */
struct fp_rule {
	uint32_t first_subnet, subnets;
	uint32_t first_name, names;
	uint32_t first_target, targets;
	uint64_t weight; /* of all targets */
};

struct fp_way_out {
	uint32_t number;
	uint32_t weight;
	uint32_t service; /* its place in the image; FP_NOWHERE = the image has none of that number */
};

enum { FP_NOWHERE = UINT32_MAX };

struct fp_routes {
	struct fp_view *views;
	uint64_t *clients;
	struct fp_rule *rules;
	struct fp_file_subnet *subnets;
	struct fp_file_name *names;
	struct fp_way_out *targets;
	uint32_t view_count, view_room;
	uint32_t client_count, client_room;
	uint32_t rule_count, rule_room;
	uint32_t subnet_count, subnet_room;
	uint32_t name_count, name_room;
	uint32_t target_count, target_room;
};

/* Each adds to what was added last. -EINVAL: there is nothing that it could belong to, or it is malformed; -ENOMEM. */
fp_must_check int fp_routes_view(struct fp_routes *routes);
fp_must_check int fp_routes_client(struct fp_routes *routes, uint64_t netns_cookie);
fp_must_check int fp_routes_rule(struct fp_routes *routes);
fp_must_check int fp_routes_subnet(struct fp_routes *routes, const struct fp_file_subnet *subnet);
fp_must_check int fp_routes_name(struct fp_routes *routes, const struct fp_file_name *name);
fp_must_check int fp_routes_target(struct fp_routes *routes, uint32_t number, uint32_t weight);
void fp_routes_clear(struct fp_routes *routes);

/* What a client sees of a service with these views; NULL: nothing but the service itself. */
const struct fp_view *fp_routes_view_of(const struct fp_routes *routes, uint32_t first_view, uint32_t views,
					uint64_t netns_cookie);
/* Where a view leads a connection: a place in the image, or FP_NOWHERE. False: no rule is for it. dst: as dialled. name: lower
 * case; NULL = none was said. draw: the same one gives the same target of several, as long as they are the same. */
fp_must_check bool fp_routes_find(const struct fp_routes *routes, const struct fp_view *view, const struct tg_addr *dst,
				  const char *name, uint32_t draw, uint32_t *ret_service);
#endif
