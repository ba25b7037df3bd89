/* Where clients of services with an affinity sit: which endpoint each had, and when it came last.
 *
 * One table for all workers, of fixed size. A client that is not in it is only a client that comes for the first time:
 * what is crowded out costs an affinity, never a connection. No lock: a seat is two words, and who reads a torn one sees
 * a stranger's key, or an endpoint's serial that its service does not have. */
#ifndef FP_SEATS_H
#define FP_SEATS_H
#include "base.h"

enum { FP_SEATS = 16384, FP_SEATS_IN_ROW = 4 }; /* 256 KiB, 16 bytes each */

/* The key of a client at a service; never 0. */
uint64_t fp_seat_key(uint64_t client, uint32_t service);
/* Serial of the endpoint that the key had within max_age_s; 0 if there is none. now_s: any clock of whole seconds. */
uint32_t fp_seat_find(uint64_t key, uint32_t now_s, uint32_t max_age_s);
void fp_seat_take(uint64_t key, uint32_t serial, uint32_t now_s);
#endif
