/* Pins and links. See tgb.h. */
#define _GNU_SOURCE
#include <bpf/bpf.h>

#include "tgb.h"

_Static_assert((int)TGB_LINK_CGROUP == (int)BPF_LINK_TYPE_CGROUP && (int)TGB_LINK_NETNS == (int)BPF_LINK_TYPE_NETNS,
	       "numbers of link types");

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
