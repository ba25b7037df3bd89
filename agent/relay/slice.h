/* How long the scheduler lets this thread run at a time. */
#ifndef FP_SLICE_H
#define FP_SLICE_H
#include "base.h"

/* Ask for a short slice: whoever is woken for little has his turn early, and takes no more of the processor for that than before
 * (EEVDF, Linux 6.12). No privilege is needed. What cannot be had is as it was: returns whether it was granted. */
bool fp_slice_shorten(void);
#endif
