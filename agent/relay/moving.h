/* A connection that goes on with another worker: out of everything that one thread has of it, and into what another has. */
#ifndef FP_MOVING_H
#define FP_MOVING_H
#include "conn.h"

/* Whether it could go on with another worker now: it is RELAYING, none of its bytes are here, and its pod is open. Whoever closes
 * a pod waits until each worker knows of it, and then finds what moved in the inboxes. */
bool fp_conn_can_leave(const struct fp_conn *conn);
/* Nothing of its worker refers to it afterwards, and the next worker's thread may be given it ... */
void fp_conn_leave(struct fp_conn *conn);
/* ... which takes it. It may have been closed when this returns. */
void fp_conn_join(struct fp_conn *conn, struct fp_conns *conns);
#endif
