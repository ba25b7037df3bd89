#ifndef FP_PRIVILEGE_H
#define FP_PRIVILEGE_H

/* Give up every capability of the calling thread but CAP_SYS_ADMIN, which setns() needs: what a worker reads comes from
 * pods. Threads share their memory, so this bounds a mistaken system call, not code that runs in the process. */
void fp_keep_setns_only(void);
#endif
