/* Waiting for what a client says first, without taking it: the name that it asks a TLS server for. Not for long, because
 * there are clients that wait for their server to speak. */
#ifndef FP_GREET_H
#define FP_GREET_H
#include "hello.h"
#include "loop.h"
#include "slab.h"
#include "stream.h"

enum { FP_GREET_MS = 5000 };

/* Those of one worker. */
struct fp_greets {
	struct fp_slab slab;
	struct fp_timers timeouts;
	char bytes[FP_HELLO_MOST]; /* for one look */
};

struct fp_greet {
	struct fp_greets *greets;
	struct fp_stream *client;
	struct fp_timer timeout;
	char name[FP_NAME_MAX + 1];
	void *user;
	/* Called once: the name, or NULL if none was said in time. It stays until fp_greet_end(). */
	void (*heard)(void *user, const char *name);
	/* Called instead: the client died. */
	void (*died)(void *user);
};

void fp_greets_init(struct fp_greets *greets, struct fp_loop *loop);
void fp_greets_clear(struct fp_greets *greets);
/* Become the user of a stream on which nothing has come yet, until something was heard; whoever is told has to become it then. NULL
 * without memory. */
struct fp_greet *fp_greet_wait(struct fp_greets *greets, struct fp_stream *client, void *user,
			       void (*heard)(void *, const char *), void (*died)(void *));
/* What was said before anybody listened: what came with the connection need not wait for a turn of the loop. */
void fp_greet_look(struct fp_greet *greet);
/* The name is not needed any more. Nobody is told. */
void fp_greet_end(struct fp_greet *greet);
#endif
