#include "target.h"

#include <errno.h>
#include <stdlib.h>

#include "addr.h"

static int grow(struct fp_registry *registry)
{
	uint32_t slots = registry->slots ? (registry->mask + 1) * 2 : 256;
	struct fp_target **wider = calloc(slots, sizeof(*wider));
	if (!wider)
		return -ENOMEM;
	for (uint32_t i = 0; registry->slots && i <= registry->mask; i++) {
		struct fp_target *target = registry->slots[i];
		while (target) {
			struct fp_target *next = target->next;
			uint64_t slot = fp_address_hash(&target->addr, target->port_be) & (slots - 1);
			target->next = wider[slot];
			wider[slot] = target;
			target = next;
		}
	}
	free(registry->slots);
	registry->slots = wider;
	registry->mask = slots - 1;
	return 0;
}

struct fp_target *fp_registry_obtain(struct fp_registry *registry, const struct tg_addr *addr, uint16_t port_be,
				     uint32_t of)
{
	if ((!registry->slots || registry->count > registry->mask) && grow(registry) && !registry->slots)
		return NULL;
	struct fp_target **slot = &registry->slots[fp_address_hash(addr, port_be) & registry->mask];
	for (struct fp_target *target = *slot; target; target = target->next) {
		if (target->port_be == port_be && target->of == of && fp_addr_equal(&target->addr, addr)) {
			target->images++;
			return target;
		}
	}
	struct fp_target *target = aligned_alloc(_Alignof(struct fp_target), sizeof(*target));
	if (!target)
		return NULL;
	if (!++registry->last_serial)
		registry->last_serial = 1;
	*target = (struct fp_target){
		.addr = *addr, .port_be = port_be, .of = of, .next = *slot, .images = 1, .serial = registry->last_serial
	};
	*slot = target;
	registry->count++;
	return target;
}

int fp_registry_bind(struct fp_registry *registry, struct fp_endpoint *endpoints, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		endpoints[i].target = fp_registry_obtain(registry, &endpoints[i].addr, endpoints[i].port_be, 0);
		if (!endpoints[i].target) {
			fp_registry_unbind(endpoints, i);
			return -ENOMEM;
		}
	}
	return 0;
}

void fp_registry_unbind(struct fp_endpoint *endpoints, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		if (endpoints[i].target)
			endpoints[i].target->images--;
		endpoints[i].target = NULL;
	}
}

void fp_registry_sweep(struct fp_registry *registry)
{
	for (uint32_t i = 0; registry->slots && i <= registry->mask; i++) {
		struct fp_target **link = &registry->slots[i];
		while (*link) {
			struct fp_target *target = *link;
			/* Acquire pairs with the release of a worker's last decrement: its use of the target is over. */
			if (target->images || atomic_load_explicit(&target->live, memory_order_acquire)) {
				link = &target->next;
				continue;
			}
			*link = target->next;
			registry->count--;
			free(target);
		}
	}
}

void fp_registry_clear(struct fp_registry *registry)
{
	for (uint32_t i = 0; registry->slots && i <= registry->mask; i++) {
		while (registry->slots[i]) {
			struct fp_target *target = registry->slots[i];
			registry->slots[i] = target->next;
			free(target);
		}
	}
	free(registry->slots);
	*registry = (struct fp_registry){ .last_serial = registry->last_serial };
}
