/* Moving bytes of one direction, with back-pressure. */
#ifndef FP_RELAY_H
#define FP_RELAY_H
#include "conn.h"

/* Move what can be moved from side `from` to the other. Returns an enum fp_reason if that ended the connection, or: */
enum { FP_RELAY_WAITS = -1, FP_RELAY_HAS_MORE = -2 };

int fp_relay(struct fp_worker *w, struct fp_conn *conn, enum fp_side_index from);
/* Give the stream's buffer back. */
void fp_stream_drop(struct fp_worker *w, struct fp_stream *stream);
#endif
