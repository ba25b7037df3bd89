#include "image_file.h"

#include <errno.h>
#include <string.h>

#include "image.h"
#include "sealed.h"

/* A table of a checked file, and how far it is used up. Rows are read by memcpy: nothing is assumed about the alignment of the bytes. */
struct table {
	const char *next;
	uint32_t left;
};

struct tables {
	struct fp_file_head head;
	struct table services, addresses, endpoints, views, clients, rules, subnets, names, targets;
};

#define TAKE(table, row) take(table, row, sizeof(*(row)))

/* The next row; there is one. */
static void take(struct table *table, void *ret_row, size_t size)
{
	memcpy(ret_row, table->next, size);
	table->next += size;
	table->left--;
}

static int find_tables(const char *begin, size_t size, struct tables *ret_tables)
{
	struct tables t;
	if (size < sizeof(t.head) || size > FP_IMAGE_MAX)
		return -EBADMSG;
	memcpy(&t.head, begin, sizeof(t.head));
	if (t.head.magic != FP_FILE_MAGIC || t.head.version != FP_ABI_VERSION || t.head.pad)
		return -EBADMSG;
	const struct {
		struct table *table;
		uint32_t rows;
		size_t size;
	} parts[] = {
		{ &t.services, t.head.services, sizeof(struct fp_file_service) },
		{ &t.addresses, t.head.addresses, sizeof(struct fp_file_address) },
		{ &t.endpoints, t.head.endpoints, sizeof(struct fp_file_endpoint) },
		{ &t.views, t.head.views, sizeof(struct fp_file_view) },
		{ &t.clients, t.head.clients, sizeof(struct fp_file_client) },
		{ &t.rules, t.head.rules, sizeof(struct fp_file_rule) },
		{ &t.subnets, t.head.subnets, sizeof(struct fp_file_subnet) },
		{ &t.names, t.head.names, sizeof(struct fp_file_name) },
		{ &t.targets, t.head.targets, sizeof(struct fp_file_target) },
	};
	uint64_t at = sizeof(t.head); /* 32-bit counts of rows of 256 bytes at most: the sum is below 2^44 */
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		uint64_t bytes = (uint64_t)parts[i].rows * parts[i].size;
		if (bytes > size - at)
			return -EBADMSG;
		*parts[i].table = (struct table){ begin + at, parts[i].rows };
		at += bytes;
	}
	if (at != size)
		return -EBADMSG;
	*ret_tables = t;
	return 0;
}

static int add_addresses(struct fp_image *image, struct table *rows, uint32_t count)
{
	if (count > rows->left)
		return -EBADMSG;
	while (count--) {
		struct fp_file_address row;
		TAKE(rows, &row);
		int rc = row.pad ? -EBADMSG : fp_image_address(image, &row.addr, row.port_be);
		if (rc)
			return rc;
	}
	return 0;
}

static int add_endpoint(struct fp_image *image, const struct fp_file_endpoint *row, bool before)
{
	const struct fp_endpoint *last = before ? &image->endpoints[image->endpoint_count - 1] : NULL;
	if (!row->other)
		return fp_image_endpoint(image, &row->addr, row->port_be, row->weight);
	if (row->other != 1 || row->weight || !last || row->port_be != last->port_be ||
	    fp_image_other(image, &row->addr))
		return -EBADMSG;
	return 0;
}

static int add_endpoints(struct fp_image *image, struct table *rows, uint32_t count)
{
	if (count > rows->left)
		return -EBADMSG;
	for (uint32_t i = 0; i < count; i++) {
		struct fp_file_endpoint row;
		TAKE(rows, &row);
		int rc = add_endpoint(image, &row, i > 0);
		if (rc)
			return rc;
	}
	return 0;
}

static int add_rule(struct fp_routes *routes, struct tables *t)
{
	struct fp_file_rule row;
	TAKE(&t->rules, &row);
	if (row.pad || row.subnets > t->subnets.left || row.names > t->names.left || row.targets > t->targets.left)
		return -EBADMSG;
	int rc = fp_routes_rule(routes);
	for (uint32_t i = 0; i < row.subnets && !rc; i++) {
		struct fp_file_subnet subnet;
		TAKE(&t->subnets, &subnet);
		rc = fp_routes_subnet(routes, &subnet);
	}
	for (uint32_t i = 0; i < row.names && !rc; i++) {
		struct fp_file_name name;
		TAKE(&t->names, &name);
		rc = fp_routes_name(routes, &name);
	}
	for (uint32_t i = 0; i < row.targets && !rc; i++) {
		struct fp_file_target target;
		TAKE(&t->targets, &target);
		rc = fp_routes_target(routes, target.number, target.weight);
	}
	return rc;
}

static int add_view(struct fp_image *image, struct tables *t)
{
	struct fp_file_view row;
	TAKE(&t->views, &row);
	if (row.clients > t->clients.left || row.rules > t->rules.left)
		return -EBADMSG;
	int rc = fp_image_view(image);
	for (uint32_t i = 0; i < row.clients && !rc; i++) {
		struct fp_file_client client;
		TAKE(&t->clients, &client);
		rc = fp_routes_client(&image->routes, client.netns_cookie);
	}
	for (uint32_t i = 0; i < row.rules && !rc; i++)
		rc = add_rule(&image->routes, t);
	return rc;
}

static int add_service(struct fp_image *image, struct tables *t)
{
	struct fp_file_service row;
	TAKE(&t->services, &row);
	if (row.lb > FP_LB_SOURCE || row.views > t->views.left)
		return -EBADMSG;
	int rc = fp_image_service(image, row.number, row.lb);
	if (!rc)
		rc = fp_image_settings(image, &row.settings);
	if (!rc)
		rc = add_addresses(image, &t->addresses, row.addresses);
	if (!rc)
		rc = add_endpoints(image, &t->endpoints, row.endpoints);
	for (uint32_t i = 0; i < row.views && !rc; i++)
		rc = add_view(image, t);
	return rc;
}

/* Whether each row belongs to somebody. */
static bool is_used_up(const struct tables *t)
{
	return !t->addresses.left && !t->endpoints.left && !t->views.left && !t->clients.left && !t->rules.left &&
	       !t->subnets.left && !t->names.left && !t->targets.left;
}

static int add_services(struct fp_image *image, struct tables *t)
{
	while (t->services.left) {
		int rc = add_service(image, t);
		if (rc)
			return rc == -EINVAL ? -EBADMSG : rc;
	}
	return is_used_up(t) ? 0 : -EBADMSG;
}

int fp_image_read(const void *bytes, size_t size, struct fp_image **ret_image)
{
	struct tables tables;
	struct fp_image *image;
	int rc = find_tables(bytes, size, &tables);
	if (!rc)
		rc = fp_image_new(tables.head.generation, &image);
	if (rc)
		return rc;
	rc = add_services(image, &tables);
	if (rc) {
		fp_image_free(image);
		return rc;
	}
	*ret_image = image;
	return 0;
}

static int read_file(const void *bytes, size_t size, void *arg)
{
	return fp_image_read(bytes, size, arg);
}

int fp_image_map(int fd, struct fp_image **ret_image)
{
	return fp_sealed_read(fd, FP_IMAGE_MAX, read_file, ret_image);
}
