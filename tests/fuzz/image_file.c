/* A file of an image as the agent hands it in: whatever its bytes are, it is refused or it is an image that holds what it says. */
#include <errno.h>

#include "../../agent/relay/addr.h"
#include "../../agent/relay/image.h"
#include "../../agent/relay/image_file.h"
#include "fuzz.h"

static void check(const struct fp_image *image, const uint8_t *data, size_t size)
{
	struct fp_file_head head;
	uint64_t addresses = 0, endpoints = 0, others = 0;

	memcpy(&head, data, sizeof(head));
	MUST(head.magic == FP_FILE_MAGIC && head.version == FP_ABI_VERSION && image->generation == head.generation);
	MUST(image->service_count == head.services && image->endpoint_count <= head.endpoints);
	MUST(image->address_count == head.addresses);
	MUST(size == sizeof(head) + head.services * sizeof(struct fp_file_service) +
			     head.addresses * sizeof(struct fp_file_address) +
			     head.endpoints * sizeof(struct fp_file_endpoint) +
			     head.views * sizeof(struct fp_file_view) + head.clients * sizeof(struct fp_file_client) +
			     head.rules * sizeof(struct fp_file_rule) + head.subnets * sizeof(struct fp_file_subnet) +
			     head.names * sizeof(struct fp_file_name) + head.targets * sizeof(struct fp_file_target));
	MUST(image->routes.view_count == head.views && image->routes.client_count == head.clients);
	MUST(image->routes.rule_count == head.rules && image->routes.subnet_count == head.subnets);
	MUST(image->routes.name_count == head.names && image->routes.target_count == head.targets);
	for (uint32_t i = 0; i < image->service_count; i++) {
		MUST(image->services[i].lb <= FP_LB_SOURCE && image->services[i].first_endpoint == endpoints);
		endpoints += image->services[i].endpoint_count;
	}
	for (uint32_t i = 0; i < image->endpoint_count; i++)
		others += !fp_addr_is_unset(&image->endpoints[i].other);
	for (uint32_t i = 0; i < image->address_count; i++) {
		MUST(image->addresses[i].service < image->service_count);
		MUST(!i || image->addresses[i].service >= image->addresses[i - 1].service);
		addresses++;
	}
	MUST(endpoints == image->endpoint_count && endpoints + others >= head.endpoints && addresses == head.addresses);
}

/* Whoever asks for whatever: a place in the image, nowhere, or no rule. */
static void ask(const struct fp_image *image)
{
	static const char *const names[] = { NULL, "a", "a.b.c" };

	for (uint32_t i = 0; i < image->service_count; i++) {
		for (uint32_t draw = 0; draw < 3; draw++) {
			struct fp_service *found = NULL;
			struct fp_asked asked = { .client = draw, .name = names[draw], .draw = draw * 0x7fffffffu };
			if (fp_image_route(image, &image->services[i], &asked, &found))
				MUST(!found ||
				     (found >= image->services && found < image->services + image->service_count));
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fp_image *image = NULL;
	int rc = fp_image_read(data, size, &image);

	MUST(rc == 0 || rc == -EBADMSG);
	MUST((rc == 0) == (image != NULL));
	if (rc)
		return 0;
	check(image, data, size);
	rc = fp_image_seal(image);
	MUST(rc == 0 || rc == -EEXIST);
	if (!rc)
		ask(image);
	fp_image_free(image);
	return 0;
}
