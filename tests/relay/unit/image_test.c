/* Building, sealing and looking up images; targets that outlive them. */
#include <errno.h>
#include <string.h>

#include "../../../agent/relay/image.h"
#include "check.h"

static struct tg_addr address(uint32_t number)
{
	struct tg_addr addr = { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10 } };
	addr.ip[13] = (uint8_t)(number >> 16);
	addr.ip[14] = (uint8_t)(number >> 8);
	addr.ip[15] = (uint8_t)number;
	return addr;
}

/* `count` services, service i at address i with endpoints i .. i + 2 of a common set. */
static struct fp_image *build(uint32_t count)
{
	struct fp_image *image;
	CHECK(fp_image_new(count, &image) == 0);
	for (uint32_t i = 0; i < count; i++) {
		struct tg_addr vip = address(i);
		CHECK(fp_image_service(image, 1000 + i, FP_LB_ROUND_ROBIN) == 0);
		CHECK(fp_image_address(image, &vip, 80) == 0);
		CHECK(fp_image_address(image, &vip, 443) == 0);
		for (uint32_t k = 0; k < 3; k++) {
			struct tg_addr endpoint = address(1000000 + (i + k) % 50);
			CHECK(fp_image_endpoint(image, &endpoint, 8080, 1) == 0);
		}
	}
	return image;
}

static void lookups(void)
{
	for (uint32_t count = 0; count < 3000; count = count * 3 + 1) {
		struct fp_image *image = build(count);
		CHECK(fp_image_seal(image) == 0);
		for (uint32_t i = 0; i < count; i++) {
			struct tg_addr vip = address(i);
			struct fp_service *service = fp_image_find(image, &vip, 443, 0);
			CHECK(service && service == fp_image_find(image, &vip, 80, 0));
			CHECK(service->number == 1000 + i && service->endpoint_count == 3 && service->turn_count == 3);
			CHECK(!fp_image_find(image, &vip, 81, 1000 + i));
		}
		struct tg_addr unknown = address(count);
		CHECK(!fp_image_find(image, &unknown, 80, 0));
		CHECK(fp_image_service(image, 1, FP_LB_RANDOM) == -EINVAL);
		CHECK(fp_image_address(image, &unknown, 80) == -EINVAL);
		CHECK(fp_image_endpoint(image, &unknown, 80, 1) == -EINVAL);
		CHECK(fp_image_seal(image) == -EINVAL);
		fp_image_free(image);
	}
}

/* What no address names is found by the number of the kernel's row, and by nothing else. */
static void by_number(void)
{
	struct fp_image *image = build(2);
	const struct tg_addr anywhere = { { 0 } }, known = address(1), unknown = address(77);
	CHECK(fp_image_service(image, 7, FP_LB_RANDOM) == 0 && fp_image_address(image, &anywhere, 443) == 0);
	CHECK(fp_image_endpoint(image, &anywhere, 0, 1) == 0);
	CHECK(fp_image_service(image, 3, FP_LB_RANDOM) == 0 && fp_image_address(image, &anywhere, 443) == 0);
	CHECK(fp_image_seal(image) == 0);
	CHECK(fp_image_find(image, &unknown, 443, 7) == &image->services[2]);
	CHECK(fp_image_find(image, &unknown, 443, 3) == &image->services[3]);
	CHECK(fp_image_find(image, &known, 443, 7) == &image->services[1]); /* who has the address comes first */
	CHECK(!fp_image_find(image, &unknown, 443, 1000)); /* which has addresses, and this is none of them */
	CHECK(!fp_image_find(image, &unknown, 443, 8));
	fp_image_free(image);
}

static void wrong_input(void)
{
	struct fp_image *image;
	struct tg_addr vip = address(1);
	CHECK(fp_image_new(1, &image) == 0);
	CHECK(fp_image_address(image, &vip, 80) == -EINVAL); /* of which service? */
	CHECK(fp_image_endpoint(image, &vip, 80, 1) == -EINVAL);
	CHECK(fp_image_service(image, 1, 99) == -EINVAL);
	CHECK(fp_image_service(image, 1, FP_LB_RANDOM) == 0);
	CHECK(fp_image_address(image, &vip, 80) == 0);
	CHECK(fp_image_service(image, 2, FP_LB_RANDOM) == 0);
	CHECK(fp_image_address(image, &vip, 80) == 0);
	CHECK(fp_image_seal(image) == -EEXIST);
	fp_image_free(image);
	fp_image_free(NULL);
}

static void targets_outlive_images(void)
{
	struct fp_registry registry = { 0 };
	struct fp_image *first = build(100), *second = build(10);
	CHECK(fp_image_seal(first) == 0 && fp_registry_bind(&registry, first->endpoints, first->endpoint_count) == 0);
	CHECK(registry.count == 50); /* shared between services */
	struct fp_target *kept = first->endpoints[0].target, *busy = first->endpoints[40 * 3].target;
	CHECK(first->endpoints[50 * 3].target == kept);
	atomic_store(&kept->live, 2);
	atomic_store(&busy->live, 1);

	CHECK(fp_image_seal(second) == 0 &&
	      fp_registry_bind(&registry, second->endpoints, second->endpoint_count) == 0);
	CHECK(second->endpoints[0].target == kept && atomic_load(&kept->live) == 2);
	fp_registry_sweep(&registry);
	CHECK(registry.count == 50);
	fp_registry_unbind(first->endpoints, first->endpoint_count);
	fp_image_free(first);
	fp_registry_sweep(&registry);
	CHECK(registry.count == 12 + 1); /* those of the second image, and the one with a live connection */
	atomic_store(&busy->live, 0);
	fp_registry_sweep(&registry);
	CHECK(registry.count == 12);

	fp_registry_unbind(second->endpoints, second->endpoint_count);
	fp_image_free(second);
	fp_registry_sweep(&registry);
	CHECK(registry.count == 1);
	fp_registry_clear(&registry);
}

static void many_targets(void)
{
	struct fp_registry registry = { 0 };
	struct fp_image *image;
	CHECK(fp_image_new(1, &image) == 0 && fp_image_service(image, 1, FP_LB_RANDOM) == 0);
	for (uint32_t i = 0; i < 5000; i++) {
		struct tg_addr endpoint = address(i);
		CHECK(fp_image_endpoint(image, &endpoint, 80, 1 + i % 2) == 0);
	}
	CHECK(fp_image_seal(image) == 0 && fp_registry_bind(&registry, image->endpoints, image->endpoint_count) == 0);
	CHECK(registry.count == 5000);
	fp_registry_unbind(image->endpoints, image->endpoint_count);
	fp_image_free(image);
	fp_registry_sweep(&registry);
	CHECK(registry.count == 0);
	fp_registry_clear(&registry);
}

int main(void)
{
	lookups();
	by_number();
	wrong_input();
	targets_outlive_images();
	many_targets();
	return 0;
}
