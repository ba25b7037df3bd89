#include "flow.h"

#include <errno.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../bpf/core/flow_core.h"
#include "addr.h"
#include "sandbox.h"

/* A bare system call instead of libbpf: these are the calls that the relay makes of it. */
static int call(enum bpf_cmd command, int map_fd, const void *key, void *value)
{
	union bpf_attr attr;
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)map_fd;
	attr.key = (uint64_t)(uintptr_t)key;
	attr.value = (uint64_t)(uintptr_t)value;
	return syscall(SYS_bpf, command, &attr, sizeof(attr)) ? -errno : 0;
}

static int look_up(int map_fd, const void *key, void *ret_value)
{
	return call(BPF_MAP_LOOKUP_ELEM, map_fd, key, ret_value);
}

int fp_flow_call_for(int called_fd, int fd, const struct tg_addr *client, uint16_t client_port_be)
{
	struct tg_caller told = { .client = *client, .client_port_be = client_port_be };
	return called_fd > 0 ? call(BPF_MAP_UPDATE_ELEM, called_fd, &fd, &told) : -EBADF;
}

bool fp_flow_wishes(const struct fp_records *records, struct fp_flow *flow)
{
	struct tg_wishes now;
	if (records->wishes_fd <= 0 || look_up(records->wishes_fd, &flow->key, &now) ||
	    !memcmp(&now, &flow->wishes, sizeof(now)))
		return false;
	flow->wishes = now;
	return true;
}

int fp_flow_identify(const struct fp_records *records, const struct fp_sandbox *sandbox, int fd,
		     const struct tg_addr *peer, uint16_t peer_port_be, struct fp_flow *ret_flow)
{
	struct tg_flow record;
	struct tg_flow_key key;
	union fp_sockaddr name;
	struct tg_addr local;
	socklen_t length = sizeof(name);
	*ret_flow = (struct fp_flow){ .client = *peer, .client_port_be = peer_port_be };
	/* Of many addresses that lead here (sk_lookup) the one that was connected to. */
	if (getsockname(fd, &name.sa, &length))
		return -errno;
	uint16_t local_port_be = fp_sockaddr_read(&name, &local);
	if (!tg_addr_is_capture(&local)) {
		struct tg_caller caller;
		ret_flow->inbound = true;
		ret_flow->dst = local;
		ret_flow->dst_port_be = local_port_be;
		if (records->called_fd > 0 && !look_up(records->called_fd, &fd, &caller))
			ret_flow->caller = caller.netns_cookie;
		return 0;
	}
	if (!tg_flow_key_of(&key, sandbox->cookie, peer, peer_port_be, &local, local_port_be))
		return -ENOENT;
	ret_flow->key = key;
	int rc = look_up(records->flows_fd, &key, &record);
	if (rc)
		return rc;
	if (record.flags & TG_FLOW_WISHES)
		fp_flow_wishes(records, ret_flow);
	ret_flow->dst = record.dst;
	ret_flow->dst_port_be = record.dst_port_be;
	ret_flow->service = record.service;
	if (fp_addr_is_unset(&record.client))
		return 0;
	/* Only a source that the routes would not choose anyway is the application's choice. */
	if (!fp_addr_equal(&record.client,
			   &sandbox->usual[fp_addr_is_v4(&record.client) ? FP_LISTENER4 : FP_LISTENER6]))
		ret_flow->source = record.client;
	ret_flow->client = record.client;
	return 0;
}
