#include "netns.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

int fp_netns_visit_init(struct fp_netns_visit *visit)
{
	/* thread-self: /proc/self is the main thread, which may be elsewhere. */
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*visit = (struct fp_netns_visit){ .home_fd = fd, .here_fd = FP_AT_HOME };
	return 0;
}

void fp_netns_visit_close(struct fp_netns_visit *visit)
{
	close(visit->home_fd);
}

int fp_netns_enter(struct fp_netns_visit *visit, int netns_fd)
{
	if (visit->here_fd == netns_fd)
		return 0;
	if (setns(netns_fd, CLONE_NEWNET))
		return -errno;
	visit->here_fd = netns_fd;
	return 0;
}

void fp_netns_leave(struct fp_netns_visit *visit)
{
	/* Descriptor numbers are reused, so a number must not be trusted once the thread may have been left behind. */
	if (visit->here_fd != FP_AT_HOME)
		visit->here_fd = setns(visit->home_fd, CLONE_NEWNET) ? FP_ASTRAY : FP_AT_HOME;
}

struct errand {
	int netns_fd;
	int (*fn)(void *arg);
	void *arg;
	int result;
};

static void *run(void *data)
{
	struct errand *errand = data;
	errand->result = setns(errand->netns_fd, CLONE_NEWNET) ? -errno : errand->fn(errand->arg);
	return NULL;
}

int fp_in_netns(int netns_fd, int (*fn)(void *arg), void *arg)
{
	struct errand errand = { .netns_fd = netns_fd, .fn = fn, .arg = arg };
	pthread_t thread;
	int rc = pthread_create(&thread, NULL, run, &errand);
	if (rc)
		return -rc;
	pthread_join(thread, NULL);
	return errand.result;
}
