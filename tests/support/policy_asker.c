/* Answers what policies say, for tests that hold agent/relay/policy.c to Python: reads questions from stdin until it ends.
 * A question is u32 bytes of a file, the file, u32 connections, and of each u64 netns cookie, 16 bytes source, 16 bytes destination,
 * u16 port, u16 bytes of a certificate's name, the name. Its answer: i32 what reading the file gave, and of each connection an fp_policy_decision
 * (none if it was refused). */
#include <stdio.h>
#include <stdlib.h>

#include "../../agent/relay/policy_file.h"

struct question {
	uint64_t netns_cookie;
	struct tg_addr source, destination;
	uint16_t port, name_length;
	uint32_t pad;
};

static void get(void *ret, size_t size)
{
	if (size && fread(ret, size, 1, stdin) != 1)
		exit(2);
}

static void tell(const void *what, size_t size)
{
	if (fwrite(what, size, 1, stdout) != 1)
		exit(2);
}

static void answer(const struct fp_policies *policies, uint32_t connections)
{
	for (uint32_t i = 0; i < connections; i++) {
		struct question asked;
		struct fp_policy_decision decision;
		get(&asked, sizeof(asked));
		char *name = malloc(asked.name_length ? asked.name_length :
							1); /* of its own size: a read beyond it is found */
		if (!name)
			exit(2);
		get(name, asked.name_length);
		struct fp_subject subject = { asked.source, asked.destination, asked.port, { { 0 }, { 0 }, { 0 } } };
		bool known = fp_peer_name_read(name, asked.name_length, &subject.name);
		if (asked.name_length && !known)
			exit(3);
		if (policies) {
			fp_policies_decide(policies, asked.netns_cookie, &subject, &decision);
			tell(&decision, sizeof(decision));
		}
		free(name);
	}
}

int main(void)
{
	uint32_t size, connections;
	while (fread(&size, sizeof(size), 1, stdin) == 1) {
		struct fp_policies *policies = NULL;
		char *file = malloc(size ? size : 1);
		if (!file)
			return 2;
		get(file, size);
		int32_t rc = fp_policies_read(file, size, &policies);
		free(file);
		tell(&rc, sizeof(rc));
		get(&connections, sizeof(connections));
		answer(policies, connections);
		fp_policies_free(policies);
		if (fflush(stdout))
			return 2;
	}
	return 0;
}
