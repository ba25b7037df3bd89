/* The plugin's surroundings by a script: every connect, sendmsg, recv, poll, nanosleep and clock_gettime of the plugin
 * comes here (linked with --wrap), so no input can wait for real and each finding repeats. */
#ifndef CNI_WORLD_H
#define CNI_WORLD_H
#include "fuzz.h"

struct cni_world {
	/* a byte per system call says how it goes; when it has ended all goes well */
	struct input script;
	const uint8_t *answer; /* of the agent, which closes the connection after it */
	size_t answer_left;
	bool agent_away;
	/* What the agent got. */
	char sent[1 << 16]; /* the request's beginning */
	size_t sent_size;
	unsigned passed; /* descriptors */
	int passed_fd;
	long long milliseconds; /* on the clock */
};

extern struct cni_world world;
#endif
