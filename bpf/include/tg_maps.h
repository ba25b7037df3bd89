/* Every map, once. Who writes and who reads is said with the layouts in tg_abi.h; all are pinned by the agent under
 * BPFFS/maps/<name> and shared by all objects (agent/tidegate/bpf/objects.py gives every object the same pins). */
#ifndef TG_MAPS_H
#define TG_MAPS_H
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "tg_abi.h"
#include "tg_reason.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct tg_settings);
} tg_settings SEC(".maps");

/* Allocated row by row: most nodes have far fewer rows than the limit. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TG_MAX_PODS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct tg_pod_key);
	__type(value, struct tg_pod);
} tg_pods SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TG_MAX_DESTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct tg_dest_key);
	__type(value, struct tg_dest);
} tg_dests SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, TG_MAX_RANGES);
	__uint(map_flags, BPF_F_NO_PREALLOC); /* the only way that the kernel has for them */
	__type(key, struct tg_range_key);
	__type(value, struct tg_dest);
} tg_ranges SEC(".maps");

/* LRU: records whose removal was missed (a listener outside of the hooks' cgroups) must not fill the table. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, TG_MAX_FLOWS);
	__type(key, struct tg_flow_key);
	__type(value, struct tg_flow);
} tg_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct tg_sock);
} tg_socks SEC(".maps");

/* LRU: a wish that is lost was most probably carried out long ago. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, TG_MAX_WISHES);
	__type(key, struct tg_flow_key);
	__type(value, struct tg_wishes);
} tg_wishes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct tg_wishes);
} tg_wanted SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct tg_end);
} tg_ends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, TG_MAX_LISTENERS);
	__type(key, struct tg_listener_key);
	__type(value, uint64_t);
} tg_listeners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TG_MAX_INBOUND);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct tg_inbound_key);
	__type(value, struct tg_inbound);
} tg_inbound SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, TG_MAX_LISTENERS);
	__type(key, struct tg_listener_key);
	__type(value, uint64_t);
} tg_inbound_listeners SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TG_MAX_GUARDS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct tg_guard_key);
	__type(value, struct tg_guard);
} tg_guards SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TG_MAX_GUARDS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct tg_guarded_key);
	__type(value, struct tg_guarded);
} tg_guarded SEC(".maps");

/* LRU: of a handshake that nobody ends nothing else tells. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, TG_MAX_CALLERS);
	__type(key, struct tg_caller_key);
	__type(value, struct tg_caller);
} tg_callers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct tg_caller);
} tg_called SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, uint32_t);
	__type(value, struct tg_dns);
} tg_dns SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TG_MAX_RESOLVERS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct tg_resolver_key);
	__type(value, struct tg_resolver);
} tg_resolvers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, TG_MAX_LISTENERS);
	__type(key, struct tg_dns_socket_key);
	__type(value, uint64_t);
} tg_dns_sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TG_MAX_REASONS);
	__type(key, uint32_t);
	__type(value, uint64_t);
} tg_counters SEC(".maps");

_Static_assert((int)TG_REASON_COUNT <= (int)TG_MAX_REASONS, "tg_counters is too small");

/* Count a verdict. TG_REASON_COUNT stands for "not ours" and is not counted. */
static __always_inline void tg_count(uint32_t reason)
{
	uint64_t *count;

	if (reason >= TG_REASON_COUNT)
		return;
	count = bpf_map_lookup_elem(&tg_counters, &reason);
	if (count)
		/* a softirq may run sockops in the middle of a system call's hook */
		__sync_fetch_and_add(count, 1);
}

static __always_inline const struct tg_settings *tg_settings_row(void)
{
	uint32_t zero = 0;

	return bpf_map_lookup_elem(&tg_settings, &zero);
}
#endif
