/* Policies as the agent lays them out -> tables that can be asked. Whatever the bytes are, they are refused or every number in
 * them leads to where it should. */
#ifndef FP_POLICY_FILE_H
#define FP_POLICY_FILE_H
#include "policy.h"

/* 0, -EBADMSG, -ENOMEM. The bytes are not needed afterwards. */
fp_must_check int fp_policies_read(const void *bytes, size_t size, struct fp_policies **ret_policies);
/* The same of a sealed memfd (sealed.h). */
fp_must_check int fp_policies_map(int fd, struct fp_policies **ret_policies);
void fp_policies_free(struct fp_policies *policies);
#endif
