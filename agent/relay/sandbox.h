/* A pod's network namespace as the engine holds it: descriptor, listeners, and each worker's watch on them. */
#ifndef FP_SANDBOX_H
#define FP_SANDBOX_H
#include <semaphore.h>

#include "fastpath.h"

#include "accept.h"
#include "base.h"
#include "pipe.h"

struct fp_worker;

/* What one worker has of a pod. */
struct fp_presence {
	struct fp_watch watches[FP_LISTENERS];
	struct fp_party party;
	struct fp_node conns;     /* its connections */
	bool open;                /* watched, also where nothing is accepted: its connections may leave the worker */
	struct fp_task evict;     /* while it goes */
	struct fp_worker *worker; /* meanwhile */
	sem_t *evicted;           /* posted at the end of that */
};

void fp_presence_init(struct fp_presence *presence);

struct fp_sandbox {
	struct fp_sandbox *next; /* control thread */
	uint64_t cookie;
	int netns_fd;
	int listener[FP_LISTENERS];
	struct fp_ports ports;
	_Atomic uint32_t active; /* connections of this pod, all workers' */
	_Atomic uint64_t kmem;   /* bytes that their sockets hold in the kernel */
	/* source that the pod's routes choose; unset if there is no default route */
	struct tg_addr usual[FP_LISTENERS];
	struct fp_presence presence[]; /* by worker */
};

/* listeners: FP_LISTENERS of another engine (borrowed; duplicates are kept), or NULL to open them. */
fp_must_check int fp_sandbox_open(const struct fp_sandbox_config *config, const int *listeners, uint32_t workers,
				  struct fp_sandbox **ret_sandbox);
/* Closes the listeners: the kernel refuses from now on. */
void fp_sandbox_hush(struct fp_sandbox *sandbox);
void fp_sandbox_free(struct fp_sandbox *sandbox);
#endif
