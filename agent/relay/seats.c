#include "seats.h"

struct seat {
	_Atomic uint64_t key;   /* 0 = free */
	_Atomic uint64_t value; /* serial << 32 | seconds */
};

static struct seat seats[FP_SEATS];

uint64_t fp_seat_key(uint64_t client, uint32_t service)
{
	uint64_t z = (client ^ (uint64_t)service << 32) * 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	z ^= z >> 31;
	return z ? z : 1;
}

static struct seat *row_of(uint64_t key)
{
	return &seats[(key >> 40) % (FP_SEATS / FP_SEATS_IN_ROW) * FP_SEATS_IN_ROW];
}

uint32_t fp_seat_find(uint64_t key, uint32_t now_s, uint32_t max_age_s)
{
	struct seat *row = row_of(key);
	for (int i = 0; i < FP_SEATS_IN_ROW; i++) {
		if (atomic_load_explicit(&row[i].key, memory_order_acquire) != key)
			continue;
		uint64_t value = atomic_load_explicit(&row[i].value, memory_order_acquire);
		return now_s - (uint32_t)value <= max_age_s ? (uint32_t)(value >> 32) : 0;
	}
	return 0;
}

void fp_seat_take(uint64_t key, uint32_t serial, uint32_t now_s)
{
	struct seat *row = row_of(key), *oldest = NULL;
	uint32_t most = 0;
	for (int i = 0; i < FP_SEATS_IN_ROW; i++) {
		uint64_t held = atomic_load_explicit(&row[i].key, memory_order_relaxed);
		uint32_t age = now_s - (uint32_t)atomic_load_explicit(&row[i].value, memory_order_relaxed);
		if (held == key || !held) {
			oldest = &row[i];
			break;
		}
		if (!oldest || age > most) {
			oldest = &row[i];
			most = age;
		}
	}
	/* Nobody finds the seat by its old key once it has another one's endpoint. */
	if (atomic_load_explicit(&oldest->key, memory_order_relaxed) != key)
		atomic_store_explicit(&oldest->key, 0, memory_order_release);
	atomic_store_explicit(&oldest->value, (uint64_t)serial << 32 | now_s, memory_order_release);
	atomic_store_explicit(&oldest->key, key, memory_order_release);
}
