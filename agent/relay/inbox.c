#include "inbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

int fp_inbox_init(struct fp_inbox *inbox)
{
	memset(inbox, 0, sizeof(*inbox));
	inbox->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (inbox->wake_fd < 0)
		return -errno;
	inbox->slots = calloc(FP_INBOX_SLOTS, sizeof(*inbox->slots));
	if (!inbox->slots) {
		close(inbox->wake_fd);
		inbox->wake_fd = -1;
		return -ENOMEM;
	}
	/* Slot i is free for turn i, filled at i + 1, free again at i + FP_INBOX_SLOTS (Vyukov's bounded queue). */
	for (uint64_t i = 0; i < FP_INBOX_SLOTS; i++)
		atomic_store_explicit(&inbox->slots[i].turn, i, memory_order_relaxed);
	return 0;
}

void fp_inbox_free(struct fp_inbox *inbox)
{
	if (inbox->wake_fd >= 0)
		close(inbox->wake_fd);
	free(inbox->slots);
}

bool fp_inbox_post(struct fp_inbox *inbox, const struct fp_message *message)
{
	uint64_t head = atomic_load_explicit(&inbox->head, memory_order_relaxed);
	struct fp_slot *slot;
	for (;;) {
		slot = &inbox->slots[head % FP_INBOX_SLOTS];
		uint64_t turn = atomic_load_explicit(&slot->turn, memory_order_acquire);
		if (turn == head) {
			if (atomic_compare_exchange_weak_explicit(&inbox->head, &head, head + 1, memory_order_relaxed,
								  memory_order_relaxed))
				break;
		} else if (turn < head) {
			return false;
		} else {
			head = atomic_load_explicit(&inbox->head, memory_order_relaxed);
		}
	}
	slot->message = *message;
	atomic_store(&slot->turn, head + 1);
	if (!atomic_exchange(&inbox->signalled, true)) {
		uint64_t one = 1;
		/* cannot fail: the count stays far below its limit */
		ssize_t n = write(inbox->wake_fd, &one, sizeof(one));
		(void)n;
	}
	return true;
}

void fp_inbox_wakened(struct fp_inbox *inbox)
{
	uint64_t count;
	ssize_t n = read(inbox->wake_fd, &count, sizeof(count));
	(void)n;
	/* Before the first take: a message posted after it finds the flag down and wakes us again. */
	atomic_store(&inbox->signalled, false);
}

bool fp_inbox_take(struct fp_inbox *inbox, struct fp_message *ret_message)
{
	struct fp_slot *slot = &inbox->slots[inbox->tail % FP_INBOX_SLOTS];
	if (atomic_load(&slot->turn) != inbox->tail + 1)
		return false;
	*ret_message = slot->message;
	atomic_store_explicit(&slot->turn, inbox->tail + FP_INBOX_SLOTS, memory_order_release);
	inbox->tail++;
	return true;
}
