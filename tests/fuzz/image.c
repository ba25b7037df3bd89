/* Images built, sealed, bound, looked up, picked from and replaced as a stream of bytes says, against a simple model:
 * a list of addresses searched from its beginning, and counts of connections kept apart from the engine's. */
#include "../../agent/relay/image.h"

#include <errno.h>

#include "../../agent/relay/addr.h"
#include "../../agent/relay/lb.h"
#include "fuzz.h"

enum { IMAGES = 3, ADDRESSES = 512, CONNECTIONS = 64, SERVICES = 512, STEPS = 4096, PICKS = 4 };

struct claim {
	struct tg_addr addr;
	uint16_t port_be;
	uint32_t service;
};

struct model {
	struct fp_image *image; /* NULL: nothing there */
	bool sealed, bound;
	uint32_t services;
	struct claim claims[ADDRESSES];
	uint32_t claim_count;
	bool by_number[SERVICES];
};

static struct model models[IMAGES];
static struct fp_registry registry;
static struct fp_target *connections[CONNECTIONS];
static struct fp_random chance;

/* Few different ones, so that they meet. */
static struct tg_addr next_addr(struct input *in)
{
	uint8_t byte = next_byte(in);
	struct tg_addr addr = { .ip = { [10] = 0xff, [11] = 0xff, [12] = 10, [15] = (uint8_t)(byte & 0x7f) } };

	if (byte == 0x7f)
		memset(&addr, 0, sizeof(addr));
	if (byte & 0x80)
		addr.ip[0] = 0xfd;
	return addr;
}

static uint16_t next_port(struct input *in)
{
	return (uint16_t)(next_byte(in) & 3);
}

static uint32_t next_weight(struct input *in)
{
	static const uint32_t odd[] = { 0, UINT32_MAX, UINT32_MAX - 1, 1u << 31, 999999937, 65536 };
	uint8_t byte = next_byte(in);

	return byte < sizeof(odd) / sizeof(odd[0]) ? odd[byte] : byte - 5u;
}

static const struct claim *claimed(const struct model *m, const struct tg_addr *addr, uint16_t port_be)
{
	for (uint32_t i = 0; i < m->claim_count; i++)
		if (m->claims[i].port_be == port_be && fp_addr_equal(&m->claims[i].addr, addr))
			return &m->claims[i];
	return NULL;
}

static bool is_unique(const struct model *m)
{
	for (uint32_t i = 0; i < m->claim_count; i++)
		if (claimed(m, &m->claims[i].addr, m->claims[i].port_be) != &m->claims[i])
			return false;
	return true;
}

static void drop(struct model *m)
{
	if (m->bound)
		fp_registry_unbind(m->image->endpoints, m->image->endpoint_count);
	fp_image_free(m->image);
	memset(m, 0, sizeof(*m));
}

/* Each endpoint has its turns, in proportion to its weight as far as their number allows. */
static void check_turns(const struct fp_image *image, const struct fp_service *service)
{
	const struct fp_endpoint *endpoints =
		service->endpoint_count ? image->endpoints + service->first_endpoint : NULL;
	uint64_t sum = 0, positive = 0;

	MUST(service->first_endpoint + service->endpoint_count <= image->endpoint_count);
	for (uint32_t i = 0; i < service->endpoint_count; i++) {
		sum += endpoints[i].weight;
		positive += endpoints[i].weight > 0;
	}
	MUST((service->turn_count > 0) == (sum > 0) && service->turn_count >= positive);
	for (uint32_t i = 0; i < service->endpoint_count; i++) {
		uint64_t turns = 0;
		for (uint32_t t = 0; t < service->turn_count; t++)
			turns += service->turns[t] == i;
		MUST((turns > 0) == (endpoints[i].weight > 0));
		if (turns > 1) {
			double wanted = (double)endpoints[i].weight / (double)sum;
			double got = (double)turns / service->turn_count;
			MUST(got - wanted < 0.01 + 0.05 * wanted && wanted - got < 0.01 + wanted * 0.3);
		}
	}
	for (uint32_t t = 0; t < service->turn_count; t++)
		MUST(service->turns[t] < service->endpoint_count);
}

static void seal(struct model *m)
{
	int rc = fp_image_seal(m->image);

	if (m->sealed) {
		MUST(rc == -EINVAL);
		return;
	}
	MUST(rc == (is_unique(m) ? 0 : -EEXIST));
	if (rc) {
		drop(m);
		return;
	}
	m->sealed = true;
	for (uint32_t i = 0; i < m->claim_count; i++) {
		struct fp_service *found = fp_image_find(m->image, &m->claims[i].addr, m->claims[i].port_be, 0);
		MUST(found == &m->image->services[m->claims[i].service]);
	}
	for (uint32_t i = 0; i < m->image->service_count; i++)
		check_turns(m->image, &m->image->services[i]);
}

static void bind_image(struct model *m)
{
	if (!m->sealed || m->bound)
		return;
	MUST(fp_registry_bind(&registry, m->image->endpoints, m->image->endpoint_count) == 0);
	m->bound = true;
	for (uint32_t i = 0; i < m->image->endpoint_count; i++) {
		const struct fp_endpoint *endpoint = &m->image->endpoints[i];
		MUST(endpoint->target && endpoint->target->port_be == endpoint->port_be);
		MUST(fp_addr_equal(&endpoint->target->addr, &endpoint->addr) && endpoint->target->images);
	}
}

static bool was_tried(struct fp_target *const *tried, uint32_t count, const struct fp_target *target)
{
	for (uint32_t i = 0; i < count; i++)
		if (tried[i] == target)
			return true;
	return false;
}

/* A client that dials, is refused, and dials again; its last attempt stays. */
static void dial(struct model *m, struct input *in)
{
	struct tg_addr addr = next_addr(in);
	uint16_t port_be = next_port(in);
	uint8_t place = next_byte(in) % CONNECTIONS;
	struct fp_target *tried[PICKS];
	uint32_t count = 0;

	if (!m->sealed)
		return;
	const uint32_t number = place % SERVICES;
	struct fp_service *service = fp_image_find(m->image, &addr, port_be, number);
	if (claimed(m, &addr, port_be))
		MUST(service == &m->image->services[claimed(m, &addr, port_be)->service]);
	else if (m->by_number[number])
		MUST(service == &m->image->services[number]);
	else
		MUST(!service);
	if (!service || !m->bound)
		return;
	const struct fp_endpoint *endpoints =
		service->endpoint_count ? m->image->endpoints + service->first_endpoint : NULL;
	const struct fp_endpoint *chosen;
	while (count < PICKS && (chosen = fp_lb_pick(m->image, service, m->services, &chance, tried, count))) {
		MUST(chosen >= endpoints && chosen < endpoints + service->endpoint_count && chosen->weight);
		MUST(!was_tried(tried, count, chosen->target));
		tried[count++] = chosen->target;
	}
	if (count < PICKS) /* nothing was left, so there was nothing else */
		for (uint32_t i = 0; i < service->endpoint_count; i++)
			MUST(!endpoints[i].weight || was_tried(tried, count, endpoints[i].target));
	if (count && !connections[place]) {
		connections[place] = tried[count - 1];
		atomic_fetch_add(&connections[place]->live, 1);
	}
}

static void hang_up(uint8_t place)
{
	struct fp_target *target = connections[place % CONNECTIONS];

	if (target)
		/* the sanitizer knows whether it is still there */
		MUST(atomic_fetch_sub(&target->live, 1) > 0);
	connections[place % CONNECTIONS] = NULL;
}

static void sweep(void)
{
	uint32_t count = 0;

	fp_registry_sweep(&registry);
	for (uint32_t i = 0; registry.slots && i <= registry.mask; i++)
		for (struct fp_target *target = registry.slots[i]; target; target = target->next, count++)
			MUST(target->images || atomic_load(&target->live));
	MUST(count == registry.count);
}

static void step(struct model *m, struct input *in, uint8_t what)
{
	struct tg_addr addr;
	uint16_t port_be;
	uint32_t weight, lb;
	int rc, refused = m->sealed || !m->services ? -EINVAL : 0;

	switch (what) {
	case 0:
		lb = next_byte(in) & 7;
		if (m->services == SERVICES)
			return;
		rc = fp_image_service(m->image, m->services, lb);
		MUST(rc == (m->sealed || lb > FP_LB_SOURCE ? -EINVAL : 0));
		m->services += rc == 0;
		return;
	case 1:
		addr = next_addr(in);
		port_be = next_port(in);
		if (m->claim_count == ADDRESSES)
			return;
		MUST(fp_image_address(m->image, &addr, port_be) == refused);
		if (!refused && fp_addr_is_unset(&addr))
			m->by_number[m->services - 1] = true;
		else if (!refused)
			m->claims[m->claim_count++] = (struct claim){ addr, port_be, m->services - 1 };
		return;
	case 2:
	case 3:
		addr = next_addr(in);
		port_be = next_port(in);
		weight = next_weight(in);
		MUST(fp_image_endpoint(m->image, &addr, port_be, weight) == refused);
		return;
	case 4:
		seal(m);
		return;
	case 5:
		bind_image(m);
		return;
	default:
		dial(m, in);
	}
}

/* The low three bits of a step's first byte say what, the next two in which image; then its arguments. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	chance.state = 42;
	for (int n = 0; n < STEPS && in.left; n++) {
		uint8_t byte = next_byte(&in), what = byte & 7, which = (byte >> 3) & 3;
		if (which == IMAGES) {
			if (what < 4)
				hang_up(next_byte(&in));
			else if (what < 6)
				sweep();
			else
				drop(&models[next_byte(&in) % IMAGES]);
			continue;
		}
		if (!models[which].image)
			MUST(fp_image_new(n, &models[which].image) == 0);
		step(&models[which], &in, what);
	}
	for (int i = 0; i < IMAGES; i++)
		drop(&models[i]);
	for (int i = 0; i < CONNECTIONS; i++)
		hang_up((uint8_t)i);
	sweep();
	MUST(registry.count == 0);
	fp_registry_clear(&registry);
	return 0;
}
