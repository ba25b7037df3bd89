/* Socket options that an application meant for the way to the server (struct tg_wishes), on the relay's own socket. */
#ifndef FP_WISHES_H
#define FP_WISHES_H
#include "../../bpf/include/tg_abi.h"
#include "base.h"

/* Keep-alive times count only once keep-alive itself was switched on. What the kernel refuses is as it was: a connection
 * without a wish is better than none. */
void fp_wishes_apply(int fd, const struct tg_wishes *wishes);
#endif
