/* Capabilities of the calling thread, without libcap: two system calls and three prctl()s. See capabilities(7). */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tgb.h"

static struct __user_cap_header_struct header(void)
{
	return (struct __user_cap_header_struct){ .version = _LINUX_CAPABILITY_VERSION_3 };
}

int tgb_caps_permitted(uint64_t *ret_caps)
{
	struct __user_cap_header_struct self = header();
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &self, data))
		return -errno;
	*ret_caps = (uint64_t)data[1].permitted << 32 | data[0].permitted;
	return 0;
}

int tgb_caps_keep(uint64_t keep)
{
	struct __user_cap_header_struct self = header();
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
		{ .permitted = (uint32_t)keep, .effective = (uint32_t)keep },
		{ .permitted = (uint32_t)(keep >> 32), .effective = (uint32_t)(keep >> 32) },
	};

	/* The bounding set first: taking from it needs CAP_SETPCAP. EINVAL is the end of what this kernel knows. */
	for (int cap = 0; cap < 64; cap++) {
		int bound = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);

		if (bound < 0)
			break;
		if (bound && !(keep >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0))
			return -errno;
	}
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) || syscall(SYS_capset, &self, data) ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		return -errno;
	return 0;
}
