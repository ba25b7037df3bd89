/* One exchange with the agent: a line of JSON out, with a descriptor if there is one, and a line of JSON back. */
#ifndef TIDEGATE_CNI_WIRE_H
#define TIDEGATE_CNI_WIRE_H

#include <jansson.h>

enum {
	CNI_PROTOCOL = 1,            /* raised when a field changes its meaning */
	CNI_MAX_BYTES = 1024 * 1024, /* of stdin, and of the agent's answer */
};

/* Monotonic milliseconds. */
long long cni_now(void);

/* Sends request to the socket and waits for the answer until deadline (cni_now() milliseconds). netns_fd is passed on
 * unless it is -1. Returns 0 and a new reference in *ret_answer, or -1 and a phrase that says what is wrong in why. */
int cni_exchange(const char *socket_path, const json_t *request, int netns_fd, long long deadline, json_t **ret_answer,
		 char *why, size_t why_size);

#endif
