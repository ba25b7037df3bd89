#include "image.h"

#include <errno.h>
#include <stdlib.h>

#include "addr.h"
#include "room.h"
#include "turns.h"

int fp_image_new(uint64_t generation, struct fp_image **ret_image)
{
	struct fp_image *image = calloc(1, sizeof(*image));
	if (!image)
		return -ENOMEM;
	image->generation = generation;
	*ret_image = image;
	return 0;
}

int fp_image_service(struct fp_image *image, uint32_t number, uint32_t lb)
{
	if (image->table || lb > FP_LB_SOURCE)
		return -EINVAL;
	if (image->service_count == image->service_room) {
		/* Services carry a cache line of their own each, so they need more alignment than realloc gives. */
		uint32_t room = image->service_room ? image->service_room * 2 : 16;
		struct fp_service *wider = aligned_alloc(_Alignof(struct fp_service), room * sizeof(*wider));
		if (!wider)
			return -ENOMEM;
		if (image->service_count)
			memcpy(wider, image->services, image->service_count * sizeof(*wider));
		free(image->services);
		image->services = wider;
		image->service_room = room;
	}
	struct fp_service *service = &image->services[image->service_count++];
	memset(service, 0, sizeof(*service));
	service->number = number;
	service->lb = lb;
	service->first_endpoint = image->endpoint_count;
	service->first_view = image->routes.view_count;
	return 0;
}

int fp_image_settings(struct fp_image *image, const struct fp_settings *settings)
{
	if (image->table || !image->service_count)
		return -EINVAL;
	image->services[image->service_count - 1].settings = *settings;
	return 0;
}

int fp_image_address(struct fp_image *image, const struct tg_addr *addr, uint16_t port_be)
{
	if (image->table || !image->service_count)
		return -EINVAL;
	if (fp_addr_is_unset(addr)) {
		image->services[image->service_count - 1].by_number = true;
		return 0;
	}
	int rc = FP_ROOM(image, addresses, address_count, address_room);
	if (rc)
		return rc;
	image->addresses[image->address_count++] = (struct fp_address){
		.addr = *addr, .port_be = port_be, .used = 1, .service = image->service_count - 1
	};
	return 0;
}

int fp_image_endpoint(struct fp_image *image, const struct tg_addr *addr, uint16_t port_be, uint32_t weight)
{
	if (image->table || !image->service_count)
		return -EINVAL;
	int rc = FP_ROOM(image, endpoints, endpoint_count, endpoint_room);
	if (rc)
		return rc;
	image->endpoints[image->endpoint_count++] =
		(struct fp_endpoint){ .addr = *addr, .port_be = port_be, .weight = weight };
	image->services[image->service_count - 1].endpoint_count++;
	return 0;
}

int fp_image_other(struct fp_image *image, const struct tg_addr *addr)
{
	if (image->table || !image->service_count || !image->services[image->service_count - 1].endpoint_count)
		return -EINVAL;
	struct fp_endpoint *endpoint = &image->endpoints[image->endpoint_count - 1];
	if (!fp_addr_is_unset(&endpoint->other) || fp_addr_is_v4(addr) == fp_addr_is_v4(&endpoint->addr))
		return -EINVAL;
	endpoint->other = *addr;
	return 0;
}

int fp_image_view(struct fp_image *image)
{
	if (image->table || !image->service_count)
		return -EINVAL;
	int rc = fp_routes_view(&image->routes);
	if (!rc)
		image->services[image->service_count - 1].views++;
	return rc;
}

/* NULL if there are none: an image without endpoints has no array to point into. */
static const struct fp_endpoint *endpoints_of(const struct fp_image *image, const struct fp_service *service)
{
	return service->endpoint_count ? image->endpoints + service->first_endpoint : NULL;
}

static int seal_turns(struct fp_image *image)
{
	size_t total = 0;
	for (uint32_t i = 0; i < image->service_count; i++) {
		struct fp_service *service = &image->services[i];
		service->turn_count = fp_turns_count(endpoints_of(image, service), service->endpoint_count);
		total += service->turn_count;
	}
	uint32_t *turns = image->turns = calloc(total ? total : 1, sizeof(*turns));
	if (!turns)
		return -ENOMEM;
	for (uint32_t i = 0; i < image->service_count; i++) {
		struct fp_service *service = &image->services[i];
		service->turns = turns;
		int rc = fp_turns_fill(endpoints_of(image, service), service->endpoint_count, turns,
				       service->turn_count);
		if (rc)
			return rc;
		turns += service->turn_count;
	}
	return 0;
}

static struct fp_address *find_slot(const struct fp_image *image, const struct tg_addr *addr, uint16_t port_be)
{
	uint64_t slot = fp_address_hash(addr, port_be);
	for (;; slot++) {
		struct fp_address *entry = &image->table[slot & image->table_mask];
		if (!entry->used || (entry->port_be == port_be && fp_addr_equal(&entry->addr, addr)))
			return entry;
	}
}

static int by_number(const void *left, const void *right)
{
	const struct fp_place *a = left, *b = right;
	return a->number < b->number ? -1 : a->number > b->number;
}

static const struct fp_place *find_place(const struct fp_place *places, uint32_t count, uint32_t number)
{
	const struct fp_place wanted = { .number = number };
	return count ? bsearch(&wanted, places, count, sizeof(*places), by_number) : NULL;
}

/* Those that are found by number. */
static int seal_numbers(struct fp_image *image)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < image->service_count; i++)
		count += image->services[i].by_number;
	if (!count)
		return 0;
	image->numbered = calloc(count, sizeof(*image->numbered));
	if (!image->numbered)
		return -ENOMEM;
	for (uint32_t i = 0; i < image->service_count; i++) {
		if (image->services[i].by_number)
			image->numbered[image->numbered_count++] = (struct fp_place){ image->services[i].number, i };
	}
	qsort(image->numbered, count, sizeof(*image->numbered), by_number);
	return 0;
}

/* Where routes lead. A service that the image does not have is one without endpoints. */
static int seal_routes(struct fp_image *image)
{
	struct fp_routes *routes = &image->routes;
	if (!routes->target_count || !image->service_count)
		return 0;
	struct fp_place *places = calloc(image->service_count, sizeof(*places));
	if (!places)
		return -ENOMEM;
	for (uint32_t i = 0; i < image->service_count; i++)
		places[i] = (struct fp_place){ image->services[i].number, i };
	qsort(places, image->service_count, sizeof(*places), by_number);
	for (uint32_t i = 0; i < routes->target_count; i++) {
		const struct fp_place *found = find_place(places, image->service_count, routes->targets[i].number);
		routes->targets[i].service = found ? found->service : (uint32_t)FP_NOWHERE;
	}
	free(places);
	return 0;
}

int fp_image_seal(struct fp_image *image)
{
	if (image->table)
		return -EINVAL;
	uint32_t slots = 16;
	while (slots < image->address_count * 2) /* at most half full: a probe ends soon, and always ends */
		slots *= 2;
	image->table = calloc(slots, sizeof(*image->table));
	if (!image->table)
		return -ENOMEM;
	image->table_mask = slots - 1;
	for (uint32_t i = 0; i < image->address_count; i++) {
		struct fp_address *entry = find_slot(image, &image->addresses[i].addr, image->addresses[i].port_be);
		if (entry->used)
			return -EEXIST;
		*entry = image->addresses[i];
	}
	free(image->addresses);
	image->addresses = NULL;
	int rc = seal_numbers(image);
	if (!rc)
		rc = seal_routes(image);
	return rc ? rc : seal_turns(image);
}

/* A counter is a target that no connection is ever dialled to: ::NUMBER with port 0. */
static struct fp_target *obtain_counter(struct fp_registry *registry, uint32_t number)
{
	struct tg_addr name = { { 0 } };
	memcpy(name.ip + sizeof(name.ip) - sizeof(number), &number, sizeof(number));
	return fp_registry_obtain(registry, &name, 0, 0);
}

static int bind_service(struct fp_image *image, struct fp_service *service, struct fp_registry *registry)
{
	if (service->settings.max_connections) {
		service->counter = obtain_counter(registry, service->settings.counted_as);
		if (!service->counter)
			return -ENOMEM;
	}
	for (uint32_t i = 0; service->settings.outlier.failures && i < service->endpoint_count; i++) {
		struct fp_endpoint *endpoint = &image->endpoints[service->first_endpoint + i];
		endpoint->watched = fp_registry_obtain(registry, &endpoint->addr, endpoint->port_be, service->number);
		if (!endpoint->watched)
			return -ENOMEM;
	}
	return 0;
}

int fp_image_bind(struct fp_image *image, struct fp_registry *registry)
{
	int rc = fp_registry_bind(registry, image->endpoints, image->endpoint_count);
	if (rc)
		return rc;
	for (uint32_t i = 0; !rc && i < image->service_count; i++)
		rc = bind_service(image, &image->services[i], registry);
	if (rc)
		fp_image_unbind(image);
	return rc;
}

void fp_image_unbind(struct fp_image *image)
{
	fp_registry_unbind(image->endpoints, image->endpoint_count);
	for (uint32_t i = 0; i < image->endpoint_count; i++) {
		if (image->endpoints[i].watched)
			image->endpoints[i].watched->images--;
		image->endpoints[i].watched = NULL;
	}
	for (uint32_t i = 0; i < image->service_count; i++) {
		if (image->services[i].counter)
			image->services[i].counter->images--;
		image->services[i].counter = NULL;
	}
}

struct fp_service *fp_image_find(const struct fp_image *image, const struct tg_addr *addr, uint16_t port_be,
				 uint32_t number)
{
	const struct fp_address *entry = find_slot(image, addr, port_be);
	if (entry->used)
		return &image->services[entry->service];
	const struct fp_place *found = find_place(image->numbered, image->numbered_count, number);
	return found ? &image->services[found->service] : NULL;
}

const struct fp_view *fp_image_view_of(const struct fp_image *image, const struct fp_service *service,
				       uint64_t netns_cookie)
{
	return service->views ? fp_routes_view_of(&image->routes, service->first_view, service->views, netns_cookie) :
				NULL;
}

bool fp_image_route(const struct fp_image *image, struct fp_service *dialled, const struct fp_asked *asked,
		    struct fp_service **ret_service)
{
	const struct fp_view *view = fp_image_view_of(image, dialled, asked->client);
	uint32_t place;
	*ret_service = dialled;
	if (!view)
		return true;
	if (!fp_routes_find(&image->routes, view, &asked->dst, asked->name, asked->draw, &place))
		return false;
	*ret_service = place == (uint32_t)FP_NOWHERE ? NULL : &image->services[place];
	return true;
}

void fp_image_free(struct fp_image *image)
{
	if (!image)
		return;
	free(image->services);
	free(image->endpoints);
	free(image->addresses);
	free(image->table);
	free(image->turns);
	free(image->numbered);
	fp_routes_clear(&image->routes);
	free(image);
}
