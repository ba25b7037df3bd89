/* One call of a container runtime, from its environment and configuration to what it is told. */
#ifndef TIDEGATE_CNI_CALL_H
#define TIDEGATE_CNI_CALL_H

#include <stdio.h>

/* Reads the configuration from input to its end and the CNI_ variables from the environment, and prints a result or a
 * CNI error object, if there is one to print. Returns the exit code. */
int cni_call(int input, FILE *output);

#endif
