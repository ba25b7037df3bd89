/* Face of the extension tidegate._bpf: libbpf and the few system calls that Python lacks, as plain functions.
 *
 * Functions return 0 (or what they say) or a negative errno; outputs (ret_) are untouched on failure. Descriptors are
 * close-on-exec and belong to the caller. Any thread may call; what libbpf and the verifier said during calls of the
 * same thread is in tgb_log(). Cdef-safe: only what cffi's parser reads. */
#ifndef TGB_H
#define TGB_H
#ifdef TG_ABI_CDEF
/* What Python names of linux/bpf.h; "..." makes cffi take the values from the compiler. */
enum bpf_prog_type {
	BPF_PROG_TYPE_SOCK_OPS,
	BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
	BPF_PROG_TYPE_CGROUP_SOCKOPT,
	BPF_PROG_TYPE_SK_LOOKUP,
	...
};
enum bpf_map_type {
	BPF_MAP_TYPE_HASH,
	BPF_MAP_TYPE_SK_STORAGE,
	BPF_MAP_TYPE_LRU_HASH,
	BPF_MAP_TYPE_PERCPU_ARRAY,
	BPF_MAP_TYPE_LPM_TRIE,
	...
};
enum bpf_attach_type {
	BPF_CGROUP_INET4_CONNECT,
	BPF_CGROUP_INET6_CONNECT,
	BPF_CGROUP_INET4_GETPEERNAME,
	BPF_CGROUP_INET6_GETPEERNAME,
	BPF_CGROUP_INET4_GETSOCKNAME,
	BPF_CGROUP_INET6_GETSOCKNAME,
	BPF_CGROUP_UDP4_SENDMSG,
	BPF_CGROUP_UDP6_SENDMSG,
	BPF_CGROUP_UDP4_RECVMSG,
	BPF_CGROUP_UDP6_RECVMSG,
	BPF_CGROUP_SOCK_OPS,
	BPF_CGROUP_GETSOCKOPT,
	BPF_CGROUP_SETSOCKOPT,
	...
};
enum bpf_func_id { BPF_FUNC_sk_storage_get, BPF_FUNC_sk_storage_delete, ... };
#else
#include "../../bpf/include/tg_abi.h"
#include "../../bpf/include/tg_reason.h"
#include "../../bpf/core/core_io.h"
#include <linux/bpf.h>
#include <stddef.h>
#endif

struct bpf_object;

enum tgb_limits { TGB_MAX_PROG_MAPS = 16 };

struct tgb_prog {
	uint32_t id;
	uint32_t type;        /* enum bpf_prog_type */
	uint32_t attach_type; /* enum bpf_attach_type; only tgb_object_program fills it */
	uint32_t maps;        /* how many of map_ids */
	uint32_t map_ids[16]; /* TGB_MAX_PROG_MAPS */
	/* instructions that the verifier went through, over all paths; 0 before Linux 5.16 */
	uint32_t verified;
	uint8_t tag[8];
	char name[16];
};

/* Kinds of links as linux/bpf.h numbers them; the later ones are newer than the headers of Debian 12. */
enum tgb_link_type { TGB_LINK_CGROUP = 3, TGB_LINK_NETNS = 5, TGB_LINK_TCX = 11, TGB_LINK_SOCKMAP = 14 };

struct tgb_link {
	uint32_t id;
	uint32_t prog_id;
	uint32_t type; /* enum tgb_link_type */
	uint32_t pad;
	/* cgroup id, inode of the netns, id of the map, index of the device; 0 = the target is gone */
	uint64_t target;
};

struct tgb_map {
	uint32_t id;
	uint32_t type;
	uint32_t key_size;
	uint32_t value_size;
	uint32_t max_entries;
	uint32_t flags;
};

/* From here on, libbpf's messages go to the log of the calling thread. Call once. */
void tgb_init(void);
const char *tgb_log(void);
void tgb_log_clear(void);

/* Objects: open, adjust, load, close. Closing keeps what was pinned or linked. */
int tgb_object_open(const char *path, struct bpf_object **ret_object);
/* Every map declared in the object is found at, or after loading pinned to, maps_dir/<name>. */
int tgb_object_share_maps(struct bpf_object *object, const char *maps_dir);
/* Set a `const volatile` of the object. -ENOENT: no such constant; -EINVAL: other size. */
int tgb_object_set_constant(struct bpf_object *object, const char *name, const void *value, size_t size);
int tgb_object_load(struct bpf_object *object);
/* Returns a descriptor that lives as long as the object. */
int tgb_object_program(struct bpf_object *object, const char *name, struct tgb_prog *ret_prog);
/* Layout that the object declares for its i-th own map. -ENOENT after the last. ret_name holds 32 bytes. */
int tgb_object_map(struct bpf_object *object, int i, char *ret_name, struct tgb_map *ret_map);
void tgb_object_close(struct bpf_object *object);

/* What a descriptor is. */
int tgb_map_info(int fd, struct tgb_map *ret_map);
int tgb_prog_info(int fd, struct tgb_prog *ret_prog);
/* A descriptor of the program of that id, which keeps it. */
int tgb_prog_get(uint32_t id);
int tgb_prog_info_by_id(uint32_t id, struct tgb_prog *ret_prog);
int tgb_link_info(int fd, struct tgb_link *ret_link);

/* Pins and links; functions that make a descriptor return it. */
int tgb_pin(int fd, const char *path);
int tgb_get(const char *path);
/* target: a descriptor, or for devices the index. */
int tgb_link_create(int prog_fd, int target, uint32_t attach_type);
int tgb_link_update(int link_fd, int prog_fd);
int tgb_link_detach(int link_fd);
/* Ids of the programs that a cgroup's (own and inherited) hook runs; returns how many, at most max. */
int tgb_query(int cgroup_fd, uint32_t attach_type, uint32_t *ret_ids, uint32_t max);

/* Map rows. */
int tgb_map_set(int fd, const void *key, const void *value);
int tgb_map_get(int fd, const void *key, void *ret_value);
int tgb_map_delete(int fd, const void *key);
/* Several rows in one system call; ret_done (never NULL) says how many were written before an error. */
int tgb_map_set_batch(int fd, const void *keys, const void *values, uint32_t count, uint32_t *ret_done);
/* Several rows in one system call; rows that are not there are passed over. */
int tgb_map_delete_batch(int fd, const void *keys, uint32_t count);
/* All rows of a hash map into arrays with room for max rows (either may be NULL); returns how many, -ENOSPC: more. */
int tgb_map_dump(int fd, void *ret_keys, void *ret_values, uint32_t max);
/* Sum over CPUs of the first `count` slots of a per-CPU array of uint64_t. */
int tgb_counters(int fd, uint64_t *ret_counts, uint32_t count);

/* Kernel features: 1 = there, 0 = not there. */
int tgb_has_prog_type(uint32_t prog_type);
int tgb_has_map_type(uint32_t map_type);
int tgb_has_helper(uint32_t prog_type, uint32_t helper);
/* Whether a program of this exact attach type may call a helper with (ctx, ...) or (number); see features.c. */
int tgb_has_set_retval(void);
int tgb_has_netns_cookie(uint32_t prog_type, uint32_t attach_type);

/* System calls that Python 3.11 has no name for. */
int tgb_setns(int netns_fd);
/* Mount the namespace that a descriptor is open on over an existing file; who opens the file enters that namespace. */
int tgb_bind_netns(int netns_fd, const char *path);
/* Take one mount away from path, at once for everybody who looks. -EINVAL: nothing is mounted there. */
int tgb_unmount(const char *path);
int tgb_mount_bpffs(const char *path);
/* At most that many heaps of the C library (M_ARENA_MAX) for all threads that are made from now on. */
int tgb_heaps(int most);

/* Capabilities of the calling thread (caps.c), as a mask by number. keep: permitted, effective and bounding become the
 * mask, inheritable and ambient empty; no_new_privs set, dumpable cleared. Threads made later inherit it. */
int tgb_caps_permitted(uint64_t *ret_caps);
int tgb_caps_keep(uint64_t keep);

/* Names of enum tg_reason, lower case; NULL past the end. */
const char *tgb_reason_name(uint32_t reason);
#endif
