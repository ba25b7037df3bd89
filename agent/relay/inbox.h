/* Messages to a worker: from the control thread, and connections handed over by a worker that has more than its share.
 * Bounded multi-producer queue without locks; one consumer. An eventfd wakes the consumer out of epoll_wait. */
#ifndef FP_INBOX_H
#define FP_INBOX_H
#include <semaphore.h>

#include "../../bpf/include/tg_abi.h"
#include "base.h"

enum { FP_INBOX_SLOTS = 1024 };

enum fp_message_kind {
	FP_MSG_WATCH,   /* accept from this sandbox */
	FP_MSG_UNWATCH, /* no longer */
	FP_MSG_LOOK,    /* accept what waits in its listeners' queues unannounced */
	FP_MSG_EVICT,   /* reset the connections of this sandbox and forget it */
	FP_MSG_ADOPT,   /* a connection accepted by another worker */
	FP_MSG_JOIN,    /* a connection that goes on here */
	FP_MSG_POLICIES, /* judge connections to pods by these from now on; those of before are not looked at any more once done */
	FP_MSG_RETIRE /* end when idle, at the deadline at the latest; a later one replaces it */
};

struct fp_conn;
struct fp_policies;
struct fp_sandbox;

struct fp_message {
	enum fp_message_kind kind;
	int fd;                             /* ADOPT */
	struct fp_sandbox *sandbox;         /* all but RETIRE, POLICIES and JOIN */
	struct fp_conn *conn;               /* JOIN */
	const struct fp_policies *policies; /* POLICIES */
	sem_t *done;                        /* posted when the worker has dealt with it; NULL for ADOPT and JOIN */
	int *ret_result;                    /* WATCH: 0 or a negative errno, valid once done */
	uint64_t deadline_ns;               /* RETIRE, CLOCK_MONOTONIC; UINT64_MAX = never */
	struct tg_addr peer;                /* ADOPT */
	uint16_t peer_port_be;
};

struct fp_slot {
	_Atomic uint64_t turn;
	struct fp_message message;
};

struct fp_inbox {
	_Alignas(FP_CACHELINE) _Atomic uint64_t head; /* producers */
	_Alignas(FP_CACHELINE) uint64_t tail;         /* consumer */
	_Alignas(FP_CACHELINE) _Atomic bool signalled;
	int wake_fd;
	struct fp_slot *slots;
};

fp_must_check int fp_inbox_init(struct fp_inbox *inbox);
void fp_inbox_free(struct fp_inbox *inbox);
/* False when full. */
bool fp_inbox_post(struct fp_inbox *inbox, const struct fp_message *message);
/* Consumer: call once after wake_fd became readable, then take until empty. */
void fp_inbox_wakened(struct fp_inbox *inbox);
bool fp_inbox_take(struct fp_inbox *inbox, struct fp_message *ret_message);
#endif
