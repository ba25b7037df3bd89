/* An image as the agent hands it in: a sealed file (layout: relay_abi.h), checked before anything of it is used. */
#ifndef FP_IMAGE_FILE_H
#define FP_IMAGE_FILE_H
#include "fastpath.h"

#include "base.h"

/* Make an image of a file's bytes. -EBADMSG if its numbers do not fit each other or their bounds, -ENOMEM. */
fp_must_check int fp_image_read(const void *bytes, size_t size, struct fp_image **ret_image);
/* The same of a memfd. -EPERM unless it is sealed against writing, growing and shrinking: what was checked must stay. */
fp_must_check int fp_image_map(int fd, struct fp_image **ret_image);
#endif
