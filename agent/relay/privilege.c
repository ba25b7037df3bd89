#include "privilege.h"

#include <linux/capability.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

void fp_keep_setns_only(void)
{
	struct __user_cap_header_struct self = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (syscall(SYS_capget, &self, data))
		abort();
	/* Without CAP_SETPCAP (an ordinary user runs the unit tests) there is nothing above the permitted set to gain. */
	if (data[0].effective & 1u << CAP_SETPCAP)
		for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
			if (cap != CAP_SYS_ADMIN && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0))
				abort();
	uint32_t kept = data[0].permitted & 1u << CAP_SYS_ADMIN;
	data[0] = (struct __user_cap_data_struct){ .permitted = kept, .effective = kept };
	data[1] = (struct __user_cap_data_struct){ 0 };
	if (syscall(SYS_capset, &self, data)) /* giving up is always allowed */
		abort();
}
