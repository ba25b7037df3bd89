/* Arrays that grow while a generation is read: twice as wide whenever one is full. */
#ifndef FP_ROOM_H
#define FP_ROOM_H
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

/* room: of items, how many *items has place for. 0 or -ENOMEM; then nothing has changed. */
static inline int fp_make_room(void **items, size_t size, uint32_t count, uint32_t *room)
{
	if (count < *room)
		return 0;
	uint32_t more = *room ? *room * 2 : 16;
	void *wider = reallocarray(*items, more, size);
	if (!wider)
		return -ENOMEM;
	*items = wider;
	*room = more;
	return 0;
}

/* Room for one more in of->items, whose numbers are of->count and of->room. 0 or -ENOMEM. */
#define FP_ROOM(of, items, count, room)                                                          \
	({                                                                                       \
		void *_items = (of)->items;                                                      \
		int _rc = fp_make_room(&_items, sizeof(*(of)->items), (of)->count, &(of)->room); \
		(of)->items = _items;                                                            \
		_rc;                                                                             \
	})

#endif
