/* A worker's hold on the current image: a hazard pointer. The control thread swaps the image first and looks at the
 * holds afterwards, a worker announces first and looks at the current image afterwards, so one of them sees the other. */
#ifndef FP_HOLD_H
#define FP_HOLD_H
#include "base.h"

struct fp_image;

struct fp_hold {
	_Atomic(struct fp_image *) *current;                     /* swapped by the control thread */
	_Alignas(FP_CACHELINE) _Atomic(struct fp_image *) image; /* not to be freed; NULL = none */
};

/* The current image, safe to use until fp_hold_release(). NULL before the first publish. */
static inline struct fp_image *fp_hold_image(struct fp_hold *hold)
{
	struct fp_image *image = atomic_load_explicit(&hold->image, memory_order_relaxed);
	if (image)
		return image;
	/* Both are sequentially consistent. */
	do {
		image = atomic_load(hold->current);
		atomic_store(&hold->image, image);
	} while (image != atomic_load(hold->current));
	return image;
}

static inline void fp_hold_release(struct fp_hold *hold)
{
	if (atomic_load_explicit(&hold->image, memory_order_relaxed))
		atomic_store_explicit(&hold->image, NULL, memory_order_release);
}
#endif
