/* The pool: bounded, last in first out, and it shrinks after a burst. */
#include "../../../agent/relay/buf.h"
#include "check.h"

int main(void)
{
	struct fp_party party;
	struct fp_pool pool;
	struct fp_buf *held[100];

	fp_party_init(&party);
	fp_pool_init(&pool, 64, 3);
	for (int i = 0; i < 3; i++)
		CHECK((held[i] = fp_pool_take(&pool, &party, true)));
	CHECK(!fp_pool_take(&pool, &party, true));
	held[1]->data[63] = 'x'; /* the last byte is ours: the sanitizer would object otherwise */
	fp_pool_give(&pool, &party, held[1]);
	CHECK(fp_pool_take(&pool, &party, true) == held[1]);
	for (int i = 0; i < 3; i++)
		fp_pool_give(&pool, &party, held[i]);
	CHECK(fp_pool_take(&pool, &party, true) == held[2]);
	fp_pool_give(&pool, &party, held[2]);
	fp_pool_clear(&pool);
	CHECK(pool.made == 0 && pool.free_count == 0);

	/* One party of two gets two thirds. */
	fp_pool_init(&pool, 64, 9);
	for (int i = 0; i < 6; i++)
		CHECK((held[i] = fp_pool_take(&pool, &party, false)));
	CHECK(!fp_pool_take(&pool, &party, false) && fp_pool_has(&pool));
	for (int i = 0; i < 6; i++)
		fp_pool_give(&pool, &party, held[i]);
	CHECK(!party.buffers);
	fp_pool_clear(&pool);

	/* Steady traffic over two buffers keeps those two and returns the others of a burst. */
	fp_pool_init(&pool, 64, 100);
	for (int i = 0; i < 100; i++)
		CHECK((held[i] = fp_pool_take(&pool, &party, true)));
	for (int i = 0; i < 100; i++)
		fp_pool_give(&pool, &party, held[i]);
	CHECK(pool.made == 100);
	for (int i = 0; i < 1000000; i++) {
		struct fp_buf *one = fp_pool_take(&pool, &party, true), *two = fp_pool_take(&pool, &party, true);
		fp_pool_give(&pool, &party, two);
		fp_pool_give(&pool, &party, one);
	}
	CHECK(pool.made >= 2 && pool.made < 8);
	uint32_t settled = pool.made;
	for (int i = 0; i < 1000; i++)
		fp_pool_give(&pool, &party, fp_pool_take(&pool, &party, true));
	CHECK(pool.made == settled);
	fp_pool_clear(&pool);
	return 0;
}
