/* From a recorded destination to a socket on its way to one endpoint. */
#ifndef FP_DIAL_H
#define FP_DIAL_H
#include "conn.h"

/* Choose an endpoint that was not tried yet and start connecting to it from inside the client's pod. Endpoints that
 * fail at once are passed over, within FP_ATTEMPTS. Returns FP_DIALLING, or the enum fp_reason that ended it;
 * `failure` is the reason to tell if no attempt is left. */
enum { FP_DIALLING = -1 };

int fp_dial(struct fp_worker *w, struct fp_conn *conn, enum fp_reason failure);
/* The current attempt is over: close its socket, forget its deadline, count the endpoint down. */
void fp_dial_abandon(struct fp_worker *w, struct fp_conn *conn);
enum fp_reason fp_dial_reason(int error);
#endif
