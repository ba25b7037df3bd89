/* Which worker has a connection: a new one, and one that has become busy or calm; and whether a pod gets another one. */
#ifndef FP_PLACING_H
#define FP_PLACING_H
#include "desk.h"

/* From now on this worker's connections go where they should be. Its parts are set up, its thread does not run yet. */
void fp_place_from(struct fp_worker *w);
/* Serve what was accepted for this worker. */
void fp_serve(struct fp_worker *w, struct fp_sandbox *sandbox, int fd, const struct tg_addr *peer, uint16_t port_be);
#endif
