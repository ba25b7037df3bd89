/* Seats: a key finds what it took, for as long as it is asked, and only a crowd takes it away. */
#include "../../../agent/relay/seats.h"
#include "check.h"

static void kept_for_a_time(void)
{
	const uint64_t key = fp_seat_key(77, 1);
	CHECK(fp_seat_find(key, 100, 10) == 0);
	fp_seat_take(key, 5, 100);
	CHECK(fp_seat_find(key, 100, 10) == 5 && fp_seat_find(key, 110, 10) == 5 && fp_seat_find(key, 111, 10) == 0);
	CHECK(fp_seat_find(fp_seat_key(77, 2), 100, 10) == 0 && fp_seat_find(fp_seat_key(78, 1), 100, 10) == 0);
	fp_seat_take(key, 6, 120);
	CHECK(fp_seat_find(key, 125, 10) == 6);
	fp_seat_take(key, 7, UINT32_MAX); /* seconds may wrap */
	CHECK(fp_seat_find(key, 5, 10) == 7 && fp_seat_find(key, 15, 10) == 0);
}

static void the_one_that_came_last_stays(void)
{
	enum { MANY = 10 * FP_SEATS };
	const uint64_t key = fp_seat_key(1, 9);
	uint32_t kept = 0;
	for (uint32_t i = 0; i < MANY; i++) {
		fp_seat_take(fp_seat_key(1000 + i, 9), i + 1, 1000 + i);
		fp_seat_take(key, 3, 1000 + i);
		CHECK(fp_seat_find(key, 1000 + i, 1) == 3);
	}
	for (uint32_t i = 0; i < MANY; i++)
		kept += fp_seat_find(fp_seat_key(1000 + i, 9), 1000 + MANY, 2 * MANY) == i + 1;
	CHECK(kept > FP_SEATS / 10 * 9 && kept <= FP_SEATS);
}

int main(void)
{
	kept_for_a_time();
	the_one_that_came_last_stays();
	return 0;
}
