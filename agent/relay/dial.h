/* How an endpoint is reached. Who wants an upstream chooses endpoints and waits; a dialer only begins one attempt. */
#ifndef FP_DIAL_H
#define FP_DIAL_H
#include "netns.h"
#include "relay_abi.h"
#include "stream_plain.h"

/* Whom the endpoint is to see. */
struct fp_origin {
	int netns_fd;                  /* of the client's pod */
	struct tg_addr source;         /* the application's own choice; unset = the pod's routes choose */
	struct tg_wishes wishes;       /* what its socket was told for the way to the server */
	struct fp_keepalive keepalive; /* what the service asks for; zero = the system's */
	/* Who is to be shown to the endpoint, which is of this node, in place of the pod; unset = the pod itself */
	struct tg_addr called_for;
	uint16_t called_for_port_be;
	int called_fd;   /* map tg_called, for that */
	bool bytes_wait; /* the client's first ones are here, and leave as soon as the stream is open */
};

struct fp_dialer {
	/* A stream on its way to the endpoint: open once it is writable, which it may be at once, failed if it cannot be.
	 * Or a negative errno. */
	int (*dial)(struct fp_dialer *dialer, const struct fp_origin *from, const struct tg_addr *addr,
		    uint16_t port_be, struct fp_stream **ret_stream);
};

/* Plain TCP from inside the pod. Of one worker. */
struct fp_plain_dialer {
	struct fp_dialer dialer;
	struct fp_netns_visit *visit; /* of the worker's thread */
	struct fp_plains *plains;
};

void fp_plain_dialer_init(struct fp_plain_dialer *dialer, struct fp_netns_visit *visit, struct fp_plains *plains);
#endif
