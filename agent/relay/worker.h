/* One worker, put together, started and ended. */
#ifndef FP_WORKER_H
#define FP_WORKER_H
#include "desk.h"

fp_must_check int fp_worker_start(struct fp_shared *shared, uint32_t index, struct fp_worker **ret_worker);
/* The thread must have got FP_MSG_RETIRE. */
void fp_worker_join(struct fp_worker *w);
void fp_worker_free(struct fp_worker *w);
#endif
