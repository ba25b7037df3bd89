#include "health.h"

/* No endpoint is left out for longer than this, or than what was asked for at first if that is more: Envoy's bound. */
#define FP_OUT_MOST_MS (300 * 1000u)

static uint32_t count_out(const struct fp_image *image, const struct fp_service *service, uint64_t now_ns)
{
	uint32_t out = 0;
	for (uint32_t i = 0; i < service->endpoint_count; i++)
		out += fp_health_is_out(&image->endpoints[service->first_endpoint + i], now_ns);
	return out;
}

bool fp_health_panics(const struct fp_image *image, const struct fp_service *service, uint64_t now_ns)
{
	uint64_t all = service->endpoint_count, percent = service->settings.outlier.panic_percent;
	return percent && (all - count_out(image, service, now_ns)) * 100 < percent * all;
}

void fp_health_good(struct fp_target *watched)
{
	if (atomic_load_explicit(&watched->failures, memory_order_relaxed))
		atomic_store_explicit(&watched->failures, 0, memory_order_relaxed);
}

/* Each time it is longer, and what lies long ago counts no more. */
static uint64_t ms_out(struct fp_target *watched, const struct fp_outlier *rule, uint64_t now_ns)
{
	uint64_t back_ns = atomic_load_explicit(&watched->out_until_ns, memory_order_relaxed);
	uint64_t good_ms = back_ns && now_ns > back_ns ? (now_ns - back_ns) / 1000000 : 0;
	uint64_t less = rule->interval_ms ? good_ms / rule->interval_ms : 0;
	uint32_t times = atomic_load_explicit(&watched->times_out, memory_order_relaxed);
	times = 1 + (less < times ? times - (uint32_t)less : 0);
	atomic_store_explicit(&watched->times_out, times, memory_order_relaxed);
	uint64_t ms = (uint64_t)rule->base_ms * times, most = FP_OUT_MOST_MS;
	most = rule->base_ms > most ? rule->base_ms : most;
	return ms < most ? ms : most;
}

void fp_health_bad(const struct fp_image *image, const struct fp_service *service, struct fp_target *watched,
		   uint64_t now_ns)
{
	const struct fp_outlier *rule = &service->settings.outlier;
	uint32_t failures = 1 + atomic_fetch_add_explicit(&watched->failures, 1, memory_order_relaxed);
	if (!rule->failures || failures < rule->failures)
		return;
	uint64_t out = count_out(image, service, now_ns);
	if ((out + 1) * 100 > (uint64_t)rule->most_percent * service->endpoint_count)
		return; /* the next failure asks again */
	atomic_store_explicit(&watched->failures, 0, memory_order_relaxed);
	uint64_t until_ns = now_ns + ms_out(watched, rule, now_ns) * 1000000;
	atomic_store_explicit(&watched->out_until_ns, until_ns, memory_order_relaxed);
}
