#include "image_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "image.h"

/* The three tables of a checked file. Rows are read by memcpy: nothing is assumed about the alignment of the bytes. */
struct tables {
	struct fp_file_head head;
	const char *services, *addresses, *endpoints;
};

static int find_tables(const char *bytes, size_t size, struct tables *ret_tables)
{
	struct tables t;
	if (size < sizeof(t.head) || size > FP_IMAGE_MAX)
		return -EBADMSG;
	memcpy(&t.head, bytes, sizeof(t.head));
	if (t.head.magic != FP_FILE_MAGIC || t.head.version != FP_ABI_VERSION || t.head.pad)
		return -EBADMSG;
	/* 32-bit counts of rows below 64 bytes: the sum is below 2^39. */
	uint64_t services = (uint64_t)t.head.services * sizeof(struct fp_file_service);
	uint64_t addresses = (uint64_t)t.head.addresses * sizeof(struct fp_file_address);
	uint64_t endpoints = (uint64_t)t.head.endpoints * sizeof(struct fp_file_endpoint);
	if (sizeof(t.head) + services + addresses + endpoints != size)
		return -EBADMSG;
	t.services = bytes + sizeof(t.head);
	t.addresses = t.services + services;
	t.endpoints = t.addresses + addresses;
	*ret_tables = t;
	return 0;
}

static int add_addresses(struct fp_image *image, const char *rows, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct fp_file_address row;
		memcpy(&row, rows + (size_t)i * sizeof(row), sizeof(row));
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

static int add_endpoints(struct fp_image *image, const char *rows, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct fp_file_endpoint row;
		memcpy(&row, rows + (size_t)i * sizeof(row), sizeof(row));
		int rc = add_endpoint(image, &row, i > 0);
		if (rc)
			return rc;
	}
	return 0;
}

static int add_services(struct fp_image *image, const struct tables *t)
{
	uint32_t addresses = 0, endpoints = 0; /* rows used up */
	for (uint32_t i = 0; i < t->head.services; i++) {
		struct fp_file_service row;
		memcpy(&row, t->services + (size_t)i * sizeof(row), sizeof(row));
		if (row.lb > FP_LB_SOURCE || row.addresses > t->head.addresses - addresses ||
		    row.endpoints > t->head.endpoints - endpoints)
			return -EBADMSG;
		int rc = fp_image_service(image, row.number, row.lb);
		if (!rc)
			rc = fp_image_settings(image, &row.settings);
		if (!rc)
			rc = add_addresses(image, t->addresses + (size_t)addresses * sizeof(struct fp_file_address),
					   row.addresses);
		if (!rc)
			rc = add_endpoints(image, t->endpoints + (size_t)endpoints * sizeof(struct fp_file_endpoint),
					   row.endpoints);
		if (rc)
			return rc;
		addresses += row.addresses;
		endpoints += row.endpoints;
	}
	return addresses == t->head.addresses && endpoints == t->head.endpoints ? 0 : -EBADMSG;
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

int fp_image_map(int fd, struct fp_image **ret_image)
{
	const int wanted = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK;
	struct stat stat;
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & wanted) != wanted)
		return -EPERM;
	if (fstat(fd, &stat))
		return -errno;
	if (stat.st_size <= 0 || stat.st_size > FP_IMAGE_MAX)
		return -EBADMSG;
	size_t size = (size_t)stat.st_size;
	/* Private: kernels before 6.7 refuse a shared mapping of what is sealed against writing. */
	void *bytes = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED)
		return -errno;
	int rc = fp_image_read(bytes, size, ret_image);
	munmap(bytes, size);
	return rc;
}
