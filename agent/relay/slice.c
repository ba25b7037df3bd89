#include "slice.h"

#include <linux/sched.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Less than the kernel's own (0.7 ms for one processor, up to 2.8 for many), and enough for what one wake-up has to do, a new
 * connection included. Older kernels ignore what is asked of a thread that is not SCHED_DEADLINE. */
enum { FP_SLICE_NS = 400 * 1000 };

/* struct sched_attr in its first version, by a name of its own: headers of the kernel and of libc disagree about who declares it. */
struct attr {
	uint32_t size;
	uint32_t policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

static bool get(struct attr *ret_attr)
{
	return !syscall(SYS_sched_getattr, 0, ret_attr, sizeof(*ret_attr), 0);
}

bool fp_slice_shorten(void)
{
	struct attr attr;
	if (!get(&attr) || attr.policy != SCHED_NORMAL)
		return false;
	attr.runtime = FP_SLICE_NS; /* all else, nice above all, stays as it is */
	return !syscall(SYS_sched_setattr, 0, &attr, 0) && get(&attr) && attr.runtime == FP_SLICE_NS;
}
