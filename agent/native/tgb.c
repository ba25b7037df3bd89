/* Objects, programs, and what a descriptor is. See tgb.h. */
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
