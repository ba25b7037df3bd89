#include "slab.h"

#include <stdlib.h>

/* The address sanitizer is told what is free, or it would not see a use of something that was given back. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(from, size) ((void)(from), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(from, size) ((void)(from), (void)(size))
#endif

enum { FP_CHUNK_THINGS = 128 };

struct fp_slab_chunk {
	_Alignas(FP_CACHELINE) struct fp_slab_chunk *next;
	_Alignas(FP_CACHELINE) char things[];
};

struct fp_slab_free {
	struct fp_slab_free *next;
};

void fp_slab_init(struct fp_slab *slab, size_t size)
{
	*slab = (struct fp_slab){ .size = (size + FP_CACHELINE - 1) / FP_CACHELINE * FP_CACHELINE };
}

void *fp_slab_take(struct fp_slab *slab)
{
	if (!slab->free)
		slab->free = atomic_exchange_explicit(&slab->returned, NULL, memory_order_acquire);
	if (!slab->free) {
		struct fp_slab_chunk *chunk =
			aligned_alloc(_Alignof(struct fp_slab_chunk), sizeof(*chunk) + FP_CHUNK_THINGS * slab->size);
		if (!chunk)
			return NULL;
		chunk->next = slab->chunks;
		slab->chunks = chunk;
		for (size_t i = FP_CHUNK_THINGS; i-- > 0;)
			fp_slab_give(slab, chunk->things + i * slab->size);
	}
	struct fp_slab_free *thing = slab->free;
	slab->free = thing->next;
	ASAN_UNPOISON_MEMORY_REGION(thing, slab->size);
	return thing;
}

void fp_slab_give(struct fp_slab *slab, void *thing)
{
	struct fp_slab_free *free_thing = thing;
	free_thing->next = slab->free;
	slab->free = free_thing;
	ASAN_POISON_MEMORY_REGION(free_thing + 1, slab->size - sizeof(*free_thing));
}

void fp_slab_return(struct fp_slab *slab, void *thing)
{
	struct fp_slab_free *free_thing = thing;
	/* Before it is seen: from then on it may be taken. */
	ASAN_POISON_MEMORY_REGION(free_thing + 1, slab->size - sizeof(*free_thing));
	free_thing->next = atomic_load_explicit(&slab->returned, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(&slab->returned, &free_thing->next, free_thing,
						      memory_order_release, memory_order_relaxed))
		;
}

void fp_slab_clear(struct fp_slab *slab)
{
	while (slab->chunks) {
		struct fp_slab_chunk *chunk = slab->chunks;
		slab->chunks = chunk->next;
		free(chunk);
	}
	slab->free = NULL;
	atomic_store_explicit(&slab->returned, NULL, memory_order_relaxed);
}
