/* See tgb.h. */
#define _GNU_SOURCE
#include "tgb.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


enum { LOG_BYTES = 65536 };

static __thread char log_text[LOG_BYTES];
static __thread size_t log_used;

/* The end of a verifier log is what says why: when full, the older half goes. */
static int log_append(enum libbpf_print_level level, const char *format, va_list args)
{
	va_list again;
	int need;

	if (level == LIBBPF_DEBUG)
		return 0;
	va_copy(again, args);
	need = vsnprintf(log_text + log_used, LOG_BYTES - log_used, format, args);
	if (need >= 0 && (size_t)need >= LOG_BYTES - log_used) {
		char *whole = NULL;

		if (vasprintf(&whole, format, again) >= 0) {
			size_t keep = (size_t)need < LOG_BYTES / 2 ? (size_t)need : LOG_BYTES / 2;
			size_t old = log_used < LOG_BYTES / 4 ? log_used : LOG_BYTES / 4;

			memmove(log_text, log_text + log_used - old, old);
			memcpy(log_text + old, whole + need - keep, keep);
			log_used = old + keep;
			log_text[log_used] = '\0';
			free(whole);
		}
	} else if (need > 0) {
		log_used += (size_t)need;
	}
	va_end(again);
	return need;
}

void tgb_init(void)
{
	libbpf_set_print(log_append);
}

const char *tgb_log(void)
{
	return log_text;
}

void tgb_log_clear(void)
{
	log_used = 0;
	log_text[0] = '\0';
}

/* --- objects --------------------------------------------------------------------------------------------------- */
int tgb_object_open(const char *path, struct bpf_object **ret_object)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);

	if (!object)
		return -errno;
	*ret_object = object;
	return 0;
}

int tgb_object_share_maps(struct bpf_object *object, const char *maps_dir)
{
	struct bpf_map *map;
	char path[4096];
	int err;

	bpf_object__for_each_map(map, object) {
		if (bpf_map__is_internal(map))
			continue;
		if (snprintf(path, sizeof(path), "%s/%s", maps_dir, bpf_map__name(map)) >= (int)sizeof(path))
			return -ENAMETOOLONG;
		err = bpf_map__set_pin_path(map, path);
		if (err)
			return err;
	}
	return 0;
}

/* Offset of a variable in section .rodata; clang gives the order, so only BTF knows. */
static int rodata_offset(struct bpf_object *object, const char *name, size_t size)
{
	const struct btf *btf = bpf_object__btf(object);
	const struct btf_var_secinfo *var;
	const struct btf_type *section;
	int id = btf ? btf__find_by_name_kind(btf, ".rodata", BTF_KIND_DATASEC) : -ENOENT;
	int i;

	if (id < 0)
		return -ENOENT;
	section = btf__type_by_id(btf, id);
	var = btf_var_secinfos(section);
	for (i = 0; i < btf_vlen(section); i++, var++) {
		const struct btf_type *type = btf__type_by_id(btf, var->type);

		if (!strcmp(btf__name_by_offset(btf, type->name_off), name))
			return var->size == size ? (int)var->offset : -EINVAL;
	}
	return -ENOENT;
}

int tgb_object_set_constant(struct bpf_object *object, const char *name, const void *value, size_t size)
{
	int offset = rodata_offset(object, name, size);
	struct bpf_map *map;

	if (offset < 0)
		return offset;
	bpf_object__for_each_map(map, object) {
		size_t length = 0;
		void *initial = (void *)bpf_map__initial_value(map, &length);
		const char *map_name = bpf_map__name(map);
		size_t map_name_length = strlen(map_name);

		/* the map of a section is named after the object and the section: "connect_.rodata" */
		if (!initial || map_name_length < 7 || strcmp(map_name + map_name_length - 7, ".rodata"))
			continue;
		if ((size_t)offset + size > length)
			return -EINVAL;
		memcpy((char *)initial + offset, value, size);
		return 0;
	}
	return -ENOENT;
}

int tgb_object_load(struct bpf_object *object)
{
	return bpf_object__load(object);
}

int tgb_object_program(struct bpf_object *object, const char *name, struct tgb_prog *ret_prog)
{
	struct bpf_program *program = bpf_object__find_program_by_name(object, name);
	struct tgb_prog prog;
	int fd, err;

	if (!program)
		return -ENOENT;
	fd = bpf_program__fd(program);
	if (fd < 0)
		return fd;
	err = tgb_prog_info(fd, &prog);
	if (err)
		return err;
	prog.attach_type = bpf_program__expected_attach_type(program);
	*ret_prog = prog;
	return fd;
}

int tgb_object_map(struct bpf_object *object, int i, char *ret_name, struct tgb_map *ret_map)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object) {
		if (bpf_map__is_internal(map) || i-- > 0)
			continue;
		snprintf(ret_name, 32, "%s", bpf_map__name(map));
		*ret_map = (struct tgb_map){
			.type = bpf_map__type(map),
			.key_size = bpf_map__key_size(map),
			.value_size = bpf_map__value_size(map),
			.max_entries = bpf_map__max_entries(map),
			.flags = bpf_map__map_flags(map),
		};
		return 0;
	}
	return -ENOENT;
}

void tgb_object_close(struct bpf_object *object)
{
	bpf_object__close(object);
}

_Static_assert((int)TGB_LINK_CGROUP == (int)BPF_LINK_TYPE_CGROUP && (int)TGB_LINK_NETNS == (int)BPF_LINK_TYPE_NETNS,
	       "numbers of link types");

/* --- what a descriptor is -------------------------------------------------------------------------------------- */
int tgb_map_info(int fd, struct tgb_map *ret_map)
{
	struct bpf_map_info info = { 0 };
	uint32_t length = sizeof(info);
	int err = bpf_obj_get_info_by_fd(fd, &info, &length);

	if (err)
		return err;
	*ret_map = (struct tgb_map){
		.id = info.id,
		.type = info.type,
		.key_size = info.key_size,
		.value_size = info.value_size,
		.max_entries = info.max_entries,
		.flags = info.map_flags,
	};
	return 0;
}

int tgb_prog_info(int fd, struct tgb_prog *ret_prog)
{
	struct tgb_prog prog = { 0 };
	struct bpf_prog_info info = {
		.nr_map_ids = TGB_MAX_PROG_MAPS,
		.map_ids = (uint64_t)(uintptr_t)prog.map_ids,
	};
	uint32_t length = sizeof(info);
	int err = bpf_obj_get_info_by_fd(fd, &info, &length);

	if (err)
		return err;
	prog.id = info.id;
	prog.type = info.type;
	prog.maps = info.nr_map_ids < TGB_MAX_PROG_MAPS ? info.nr_map_ids : TGB_MAX_PROG_MAPS;
	prog.verified = info.verified_insns;
	memcpy(prog.tag, info.tag, sizeof(prog.tag));
	memcpy(prog.name, info.name, sizeof(prog.name));
	*ret_prog = prog;
	return 0;
}

int tgb_prog_get(uint32_t id)
{
	return bpf_prog_get_fd_by_id(id);
}

int tgb_prog_info_by_id(uint32_t id, struct tgb_prog *ret_prog)
{
	int fd = bpf_prog_get_fd_by_id(id);
	int err;

	if (fd < 0)
		return fd;
	err = tgb_prog_info(fd, ret_prog);
	close(fd);
	return err;
}

int tgb_link_info(int fd, struct tgb_link *ret_link)
{
	struct bpf_link_info info = { 0 };
	uint32_t length = sizeof(info);
	int err = bpf_obj_get_info_by_fd(fd, &info, &length);

	if (err)
		return err;
	*ret_link = (struct tgb_link){
		.id = info.id,
		.prog_id = info.prog_id,
		.type = info.type,
		/* Of a union; all but the cgroup's begin with a number of 32 bits. */
		.target = info.type == BPF_LINK_TYPE_CGROUP ? info.cgroup.cgroup_id : info.netns.netns_ino,
	};
	return 0;
}

/* --- pins and links -------------------------------------------------------------------------------------------- */
int tgb_pin(int fd, const char *path)
{
	return bpf_obj_pin(fd, path);
}

int tgb_get(const char *path)
{
	return bpf_obj_get(path);
}

int tgb_link_create(int prog_fd, int target, uint32_t attach_type)
{
	return bpf_link_create(prog_fd, target, attach_type, NULL);
}

int tgb_link_update(int link_fd, int prog_fd)
{
	return bpf_link_update(link_fd, prog_fd, NULL);
}

int tgb_link_detach(int link_fd)
{
	return bpf_link_detach(link_fd);
}

int tgb_query(int cgroup_fd, uint32_t attach_type, uint32_t *ret_ids, uint32_t max)
{
	uint32_t count = max;
	int err = bpf_prog_query(cgroup_fd, attach_type, BPF_F_QUERY_EFFECTIVE, NULL, ret_ids, &count);

	return err ? err : (int)(count < max ? count : max);
}

/* --- map rows -------------------------------------------------------------------------------------------------- */
int tgb_map_set(int fd, const void *key, const void *value)
{
	return bpf_map_update_elem(fd, key, value, BPF_ANY);
}

int tgb_map_get(int fd, const void *key, void *ret_value)
{
	return bpf_map_lookup_elem(fd, key, ret_value);
}

int tgb_map_delete(int fd, const void *key)
{
	return bpf_map_delete_elem(fd, key);
}

int tgb_map_set_batch(int fd, const void *keys, const void *values, uint32_t count, uint32_t *ret_done)
{
	int err;

	*ret_done = count;
	err = bpf_map_update_batch(fd, keys, values, ret_done, NULL);
	if (err == -EFAULT)
		*ret_done = 0; /* the kernel did not get as far as to say */
	return err;
}

int tgb_map_delete_batch(int fd, const void *keys, uint32_t count)
{
	struct tgb_map map;
	uint32_t at = 0;
	int err = tgb_map_info(fd, &map);

	while (!err && at < count) {
		uint32_t done = count - at;

		err = bpf_map_delete_batch(fd, (const char *)keys + (size_t)at * map.key_size, &done, NULL);
		if (err == -EFAULT)
			return err; /* the kernel did not get as far as to say */
		at += done;
		if (err == -ENOENT) {
			at++;
			err = 0;
		}
	}
	return err;
}

int tgb_map_dump(int fd, void *ret_keys, void *ret_values, uint32_t max)
{
	/* One bucket's rows come together or not at all, so a batch must hold the longest chain. */
	enum { BATCH = 4096 };
	struct tgb_map map;
	char *keys, *values;
	/* of hash tables a number, of others the last key */
	uint64_t cursor[32] = { 0 };
	uint32_t total = 0;
	int first = 1, err = tgb_map_info(fd, &map);

	if (err)
		return err;
	if (map.key_size > sizeof(cursor))
		return -EINVAL;
	keys = malloc((size_t)BATCH * map.key_size);
	values = malloc((size_t)BATCH * map.value_size);
	err = keys && values ? 0 : -ENOMEM;
	while (!err) {
		uint32_t count = BATCH;

		err = bpf_map_lookup_batch(fd, first ? NULL : cursor, cursor, keys, values, &count, NULL);
		if (err && err != -ENOENT)
			break;
		first = 0;
		if (total + count > max) {
			err = -ENOSPC;
			break;
		}
		if (ret_keys)
			memcpy((char *)ret_keys + (size_t)total * map.key_size, keys, (size_t)count * map.key_size);
		if (ret_values)
			memcpy((char *)ret_values + (size_t)total * map.value_size, values,
			       (size_t)count * map.value_size);
		total += count;
	}
	free(keys);
	free(values);
	return err == -ENOENT ? (int)total : err; /* ENOENT: that was the last batch */
}

int tgb_counters(int fd, uint64_t *ret_counts, uint32_t count)
{
	int cpus = libbpf_num_possible_cpus();
	uint64_t *values;
	int err = 0;

	if (cpus < 0)
		return cpus;
	values = calloc((size_t)cpus, sizeof(*values));
	if (!values)
		return -ENOMEM;
	for (uint32_t i = 0; i < count && !err; i++) {
		err = bpf_map_lookup_elem(fd, &i, values);
		if (err)
			break;
		ret_counts[i] = 0;
		for (int cpu = 0; cpu < cpus; cpu++)
			ret_counts[i] += values[cpu];
	}
	free(values);
	return err;
}

/* --- kernel features ------------------------------------------------------------------------------------------- */
int tgb_has_prog_type(uint32_t prog_type)
{
	return libbpf_probe_bpf_prog_type(prog_type, NULL) == 1;
}

int tgb_has_map_type(uint32_t map_type)
{
	return libbpf_probe_bpf_map_type(map_type, NULL) == 1;
}

int tgb_has_helper(uint32_t prog_type, uint32_t helper)
{
	return libbpf_probe_bpf_helper(prog_type, helper, NULL) == 1;
}

static int loads(uint32_t prog_type, uint32_t attach_type, const struct bpf_insn *insns, size_t count)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = attach_type);
	int fd = bpf_prog_load(prog_type, "tg_probe", "GPL", insns, count, &opts);

	if (fd < 0)
		return 0;
	close(fd);
	return 1;
}

/* clang-format off */
#define INSN(op, dst, src, imm_) { .code = (op), .dst_reg = (dst), .src_reg = (src), .imm = (imm_) }
/* clang-format on */
#define MOV_IMM(dst, imm_) INSN(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, imm_)
#define CALL(helper) INSN(BPF_JMP | BPF_CALL, 0, 0, helper)
#define EXIT() INSN(BPF_JMP | BPF_EXIT, 0, 0, 0)

/* The helper came in 5.18, for connect hooks only later, and which kernel has what depends on backports: try it. */
int tgb_has_set_retval(void)
{
	const struct bpf_insn insns[] = { MOV_IMM(BPF_REG_1, -ECONNREFUSED), CALL(BPF_FUNC_set_retval),
					  MOV_IMM(BPF_REG_0, 0), EXIT() };
	size_t count = sizeof(insns) / sizeof(insns[0]);

	return loads(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_CONNECT, insns, count) &&
	       loads(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET6_CONNECT, insns, count);
}

/* r1 is the context at entry */
int tgb_has_netns_cookie(uint32_t prog_type, uint32_t attach_type)
{
	const struct bpf_insn insns[] = { CALL(BPF_FUNC_get_netns_cookie), MOV_IMM(BPF_REG_0, 1), EXIT() };

	return loads(prog_type, attach_type, insns, sizeof(insns) / sizeof(insns[0]));
}

/* --- names ----------------------------------------------------------------------------------------------------- */
const char *tgb_reason_name(uint32_t reason)
{
	static const char *const names[] = {
#define X(name) #name,
		TG_REASONS(X)
#undef X
	};

	return reason < TG_REASON_COUNT ? names[reason] : NULL;
}
