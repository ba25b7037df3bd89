/* What sock_diag says of the other end of a loopback connection, in this thread's own namespace. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../../agent/relay/peer.h"
#include "check.h"

static int netns;
static struct fp_peers peers;

/* ours, theirs: two ends of a TCP connection over ::1 or 127.0.0.1. Returns the listener. */
static int connect_pair(int family, int *ret_ours, int *ret_theirs)
{
	struct sockaddr_storage name = { .ss_family = (sa_family_t)family };
	socklen_t size = sizeof(name);
	if (family == AF_INET)
		((struct sockaddr_in *)&name)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		((struct sockaddr_in6 *)&name)->sin6_addr = in6addr_loopback;
	int listener = socket(family, SOCK_STREAM, 0);
	CHECK(bind(listener, (void *)&name, size) == 0 && listen(listener, 1) == 0);
	CHECK(getsockname(listener, (void *)&name, &size) == 0);
	*ret_theirs = socket(family, SOCK_STREAM, 0);
	CHECK(connect(*ret_theirs, (void *)&name, size) == 0);
	*ret_ours = accept(listener, NULL, NULL);
	CHECK(*ret_ours >= 0);
	return listener;
}

static void one_that_closed_is_gone(int family)
{
	int ours, theirs, listener = connect_pair(family, &ours, &theirs);
	CHECK(fp_peer_ask(&peers, netns, ours) == FP_PEER_LIVES);
	CHECK(shutdown(theirs, SHUT_WR) == 0);
	CHECK(fp_peer_ask(&peers, netns, ours) == FP_PEER_LIVES);
	close(theirs);
	CHECK(fp_peer_ask(&peers, netns, ours) == FP_PEER_GONE);
	close(ours);
	close(listener);
}

/* The kernel may find a listener instead of a socket that is no more. */
static void another_socket_on_its_port_is_not_it(void)
{
	int ours, theirs, listener = connect_pair(AF_INET, &ours, &theirs);
	struct sockaddr_in name;
	socklen_t size = sizeof(name);
	struct linger at_once = { .l_onoff = 1 };
	int again = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	CHECK(getsockname(theirs, (void *)&name, &size) == 0);
	CHECK(setsockopt(theirs, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0);
	close(theirs); /* FIN: ours goes on, theirs waits for its end */
	CHECK(setsockopt(again, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) == 0);
	CHECK(setsockopt(again, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) == 0);
	CHECK(setsockopt(again, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)) == 0);
	if (bind(again, (void *)&name, size) == 0)
		CHECK(listen(again, 1) == 0);
	CHECK(fp_peer_ask(&peers, netns, ours) == FP_PEER_GONE);
	close(again);
	close(ours);
	close(listener);
}

static void what_is_not_tcp_is_unknown(void)
{
	int pair[2];
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	CHECK(fp_peer_ask(&peers, netns, pair[0]) == FP_PEER_UNKNOWN);
	CHECK(fp_peer_ask(&peers, netns, -1) == FP_PEER_UNKNOWN);
	close(pair[0]);
	close(pair[1]);
}

int main(void)
{
	struct fp_netns_visit visit;
	CHECK(fp_netns_visit_init(&visit) == 0);
	fp_peers_init(&peers, &visit);
	netns = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	CHECK(netns >= 0);
	one_that_closed_is_gone(AF_INET);
	one_that_closed_is_gone(AF_INET6);
	another_socket_on_its_port_is_not_it();
	what_is_not_tcp_is_unknown();
	fp_peers_leave(&peers);
	fp_netns_visit_close(&visit);
	close(netns);
	return 0;
}
