/* What the agent hands in as a file: a memfd that nobody can change any more, so what was checked stays. */
#ifndef FP_SEALED_H
#define FP_SEALED_H
#include "base.h"

/* Calls read() with the file's bytes, which are gone afterwards, and returns what it returns. -EPERM unless it is sealed against
 * writing, growing and shrinking, -EBADMSG if it is empty or has more than `most` bytes. */
fp_must_check int fp_sealed_read(int fd, size_t most, int (*read)(const void *bytes, size_t size, void *arg),
				 void *arg);
#endif
