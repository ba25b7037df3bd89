/* Intrusive doubly linked ring. A node that is in no list points to itself, so removing it twice is harmless. */
#ifndef FP_LIST_H
#define FP_LIST_H
#include "base.h"

struct fp_node {
	struct fp_node *prev, *next;
};

#define fp_container(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

static inline void fp_list_init(struct fp_node *node)
{
	node->prev = node->next = node;
}

static inline bool fp_list_empty(const struct fp_node *head)
{
	return head->next == head;
}

static inline void fp_list_remove(struct fp_node *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	fp_list_init(node);
}

static inline void fp_list_insert(struct fp_node *after, struct fp_node *node)
{
	node->prev = after;
	node->next = after->next;
	after->next->prev = node;
	after->next = node;
}

static inline void fp_list_append(struct fp_node *head, struct fp_node *node)
{
	fp_list_insert(head->prev, node);
}

/* All nodes of `from` go to `to`, which must be empty. */
static inline void fp_list_take(struct fp_node *to, struct fp_node *from)
{
	if (fp_list_empty(from))
		return;
	*to = *from;
	to->next->prev = to;
	to->prev->next = to;
	fp_list_init(from);
}
#endif
