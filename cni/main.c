/* tidegate, a chained CNI plugin: hands the call to the node's agent and prints its verdict (CNI spec 1.1.0). */
#include <stdio.h>
#include <unistd.h>

#include "call.h"

int main(void)
{
	return cni_call(STDIN_FILENO, stdout);
}
