/* Network namespaces of threads. A namespace belongs to a thread, and a socket to the namespace of the thread that
 * made it, for life: so a socket is opened inside the pod and used from anywhere. */
#ifndef FP_NETNS_H
#define FP_NETNS_H
#include "base.h"

enum { FP_AT_HOME = -1, FP_ASTRAY = -2 };

/* Where a worker thread is. It enters a pod to open sockets and stays until another pod needs one, or until its pod is
 * removed: each setns() allocates and frees the thread's set of namespaces. Whoever opens a socket enters first. */
struct fp_netns_visit {
	int home_fd;
	int here_fd; /* pod that the thread is in, or FP_AT_HOME, or FP_ASTRAY */
};

fp_must_check int fp_netns_visit_init(struct fp_netns_visit *visit);
void fp_netns_visit_close(struct fp_netns_visit *visit);
/* After 0 the thread is in netns_fd; after an error it must not open sockets. */
fp_must_check int fp_netns_enter(struct fp_netns_visit *visit, int netns_fd);
/* If going home fails the thread is astray: the next enter then always moves, and fails if it cannot. */
void fp_netns_leave(struct fp_netns_visit *visit);

/* Run fn inside netns_fd on a thread of its own, so the caller's thread never changes. Returns fn's result. */
fp_must_check int fp_in_netns(int netns_fd, int (*fn)(void *arg), void *arg);
#endif
