/* Who holds the other end of a connection inside a pod. A peer that closed and one that only ended its direction (half-
 * close) send the same FIN; the kernel knows the difference, and tells it of sockets of a network namespace to a netlink
 * socket of that namespace: sock_diag(7). */
#ifndef FP_PEER_H
#define FP_PEER_H
#include "netns.h"

enum fp_peer {
	FP_PEER_LIVES,
	FP_PEER_GONE,    /* no process has it any more: it was closed, whatever of it the kernel still keeps */
	FP_PEER_UNKNOWN, /* the kernel cannot be asked (no tcp_diag), or not now */
};

/* Of one worker. */
struct fp_peers {
	struct fp_netns_visit *visit;
	int fd;       /* netlink socket inside the pod that was asked about last; -1 = none */
	int netns_fd; /* that pod */
};

void fp_peers_init(struct fp_peers *peers, struct fp_netns_visit *visit);
/* Before a pod's descriptor is closed, and at the end. */
void fp_peers_leave(struct fp_peers *peers);
/* Of a connected TCP socket both of whose ends are in netns_fd. */
enum fp_peer fp_peer_ask(struct fp_peers *peers, int netns_fd, int socket_fd);
#endif
