/* Rows of maps, one or many in one call. See tgb.h. */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tgb.h"

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
