/* A short slice is asked for where there is one; nice and policy stay as they are. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include "../../../agent/relay/slice.h"
#include "check.h"

enum { NICE = 3 };

/* Whether this kernel lets threads choose: Linux 6.12. */
static bool may_choose(void)
{
	struct utsname kernel;
	unsigned major = 0, minor = 0;
	CHECK(uname(&kernel) == 0 && sscanf(kernel.release, "%u.%u", &major, &minor) == 2);
	return major > 6 || (major == 6 && minor >= 12);
}

static void what_else_was_set_stays(void)
{
	CHECK(setpriority(PRIO_PROCESS, 0, NICE) == 0 || getpriority(PRIO_PROCESS, 0) > NICE);
	errno = 0;
	const int before = getpriority(PRIO_PROCESS, 0);
	CHECK(fp_slice_shorten() == may_choose());
	CHECK(getpriority(PRIO_PROCESS, 0) == before && !errno && sched_getscheduler(0) == SCHED_OTHER);
	CHECK(fp_slice_shorten() == may_choose()); /* again is as good as once */
}

static void who_has_another_policy_keeps_it(void)
{
	const struct sched_param none = { 0 };
	CHECK(sched_setscheduler(0, SCHED_BATCH, &none) == 0);
	CHECK(!fp_slice_shorten() && sched_getscheduler(0) == SCHED_BATCH);
}

static void *of_a_thread(void *part)
{
	((void (*)(void))part)();
	return NULL;
}

int main(void)
{
	void (*const parts[])(void) = { what_else_was_set_stays, who_has_another_policy_keeps_it };
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		pthread_t thread;
		CHECK(pthread_create(&thread, NULL, of_a_thread, (void *)parts[i]) == 0);
		pthread_join(thread, NULL);
	}
	return 0;
}
