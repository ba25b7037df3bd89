#include "defaults.h"

#include <sched.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

enum {
	/* Descriptors that connections never get: an eighth of all, within these bounds. A pod takes three for its netns and
	 * listeners, a worker or carrier five, whoever asks four. */
	FP_RESERVE_LEAST = 128,
	FP_RESERVE_MOST = 4096,
	FP_PER_CONNECTION = 2,
	FP_SOCKETS_LEAST_MIB = 32
};

static uint32_t usable_cpus(void)
{
	cpu_set_t set;
	int count = sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);
	return (uint32_t)(count > FP_WORKERS_MAX ? FP_WORKERS_MAX : count);
}

/* So many connections leave the reserve alone: a pod that opens without end must not keep the next pod from coming. */
static uint32_t affordable(void)
{
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) || files.rlim_cur > UINT32_MAX)
		return UINT32_MAX;
	uint32_t all = (uint32_t)files.rlim_cur, reserve = all / 8;
	reserve = reserve < FP_RESERVE_LEAST ? FP_RESERVE_LEAST : reserve > FP_RESERVE_MOST ? FP_RESERVE_MOST : reserve;
	return all < reserve + 2 * FP_PER_CONNECTION ? 2 : (all - reserve) / FP_PER_CONNECTION;
}

/* Half of what all of TCP may have before the kernel presses on it (the second of tcp_mem, in pages). Where that cannot be seen it is
 * taken for a sixteenth of the memory, as the kernel does. */
static uint32_t half_of_tcp(void)
{
	uint64_t bytes = 0, pages = 0, page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct sysinfo node;
	FILE *file = fopen("/proc/sys/net/ipv4/tcp_mem", "re");
	if (file && fscanf(file, "%*u %lu", &pages) == 1)
		bytes = pages < UINT32_MAX ? pages * page : UINT64_MAX;
	if (file)
		fclose(file);
	if (!bytes && !sysinfo(&node))
		bytes = (uint64_t)node.totalram * node.mem_unit / 16;
	uint64_t mib = bytes / 2 >> 20;
	return mib < FP_SOCKETS_LEAST_MIB ? FP_SOCKETS_LEAST_MIB : mib > UINT32_MAX ? UINT32_MAX : (uint32_t)mib;
}

void fp_fill_defaults(struct fp_config *config)
{
	uint32_t most = affordable();
	if (!config->workers)
		config->workers = usable_cpus();
	if (!config->max_connections)
		config->max_connections = 65536;
	if (config->max_connections > most)
		config->max_connections = most;
	if (!config->report_ms)
		config->report_ms = 5000;
	if (!config->buffer_bytes)
		config->buffer_bytes = 262144;
	if (!config->connect_timeout_ms)
		config->connect_timeout_ms = 10000;
	if (!config->pool_mib)
		config->pool_mib = 256;
	if (!config->sockets_mib)
		config->sockets_mib = half_of_tcp();
}
