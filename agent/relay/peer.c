#include "peer.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <string.h>
#include <unistd.h>

#include "addr.h"

enum { FP_TCP_LISTEN = 10, FP_ANSWER_BYTES = 1024 };

struct question {
	struct nlmsghdr head;
	struct inet_diag_req_v2 ask;
};

void fp_peers_init(struct fp_peers *peers, struct fp_netns_visit *visit)
{
	*peers = (struct fp_peers){ .visit = visit, .fd = -1, .netns_fd = -1 };
}

void fp_peers_leave(struct fp_peers *peers)
{
	if (peers->fd >= 0)
		close(peers->fd);
	peers->fd = peers->netns_fd = -1;
}

static bool go_to(struct fp_peers *peers, int netns_fd)
{
	if (peers->fd >= 0 && peers->netns_fd == netns_fd)
		return true;
	fp_peers_leave(peers);
	if (fp_netns_enter(peers->visit, netns_fd))
		return false;
	peers->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	peers->netns_fd = netns_fd;
	return peers->fd >= 0;
}

/* The question for the socket whose own address is `peer` and whose peer's is `own`. */
static void ask_about(struct question *question, const union fp_sockaddr *own, const union fp_sockaddr *peer)
{
	struct inet_diag_sockid *id = &question->ask.id;
	memset(question, 0, sizeof(*question));
	question->head.nlmsg_len = sizeof(*question);
	question->head.nlmsg_type = SOCK_DIAG_BY_FAMILY;
	question->head.nlmsg_flags = NLM_F_REQUEST;
	question->ask.sdiag_family = (uint8_t)own->sa.sa_family;
	question->ask.sdiag_protocol = IPPROTO_TCP;
	question->ask.idiag_states = UINT32_MAX;
	id->idiag_cookie[0] = id->idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	if (own->sa.sa_family == AF_INET) {
		id->idiag_sport = peer->in.sin_port;
		id->idiag_dport = own->in.sin_port;
		memcpy(id->idiag_src, &peer->in.sin_addr, sizeof(peer->in.sin_addr));
		memcpy(id->idiag_dst, &own->in.sin_addr, sizeof(own->in.sin_addr));
	} else {
		id->idiag_sport = peer->in6.sin6_port;
		id->idiag_dport = own->in6.sin6_port;
		memcpy(id->idiag_src, &peer->in6.sin6_addr, sizeof(peer->in6.sin6_addr));
		memcpy(id->idiag_dst, &own->in6.sin6_addr, sizeof(own->in6.sin6_addr));
	}
}

/* An answer is one message: an error, or a socket. One without inode has no owner: it was closed and waits for its end
 * (FIN_WAIT2, TIME_WAIT). Where there is none the kernel looks for a listener on the port, which is another socket. */
static enum fp_peer read_answer(const char *answer, ssize_t size)
{
	const struct nlmsghdr *head = (const void *)answer;
	if (size < (ssize_t)sizeof(*head) || head->nlmsg_len > (size_t)size)
		return FP_PEER_UNKNOWN;
	if (head->nlmsg_type == NLMSG_ERROR && head->nlmsg_len >= NLMSG_LENGTH(sizeof(struct nlmsgerr)))
		return ((const struct nlmsgerr *)NLMSG_DATA(head))->error == -ENOENT ? FP_PEER_GONE : FP_PEER_UNKNOWN;
	if (head->nlmsg_type != SOCK_DIAG_BY_FAMILY || head->nlmsg_len < NLMSG_LENGTH(sizeof(struct inet_diag_msg)))
		return FP_PEER_UNKNOWN;
	const struct inet_diag_msg *found = NLMSG_DATA(head);
	return found->idiag_inode && found->idiag_state != FP_TCP_LISTEN ? FP_PEER_LIVES : FP_PEER_GONE;
}

enum fp_peer fp_peer_ask(struct fp_peers *peers, int netns_fd, int socket_fd)
{
	union {
		struct nlmsghdr align;
		char bytes[FP_ANSWER_BYTES];
	} answer;
	union fp_sockaddr own, peer;
	struct question question;
	socklen_t own_size = sizeof(own), peer_size = sizeof(peer);
	if (getsockname(socket_fd, &own.sa, &own_size) || getpeername(socket_fd, &peer.sa, &peer_size) ||
	    (own.sa.sa_family != AF_INET && own.sa.sa_family != AF_INET6) || !go_to(peers, netns_fd))
		return FP_PEER_UNKNOWN;
	ask_about(&question, &own, &peer);
	/* The kernel answers while it is asked. */
	if (send(peers->fd, &question, sizeof(question), MSG_NOSIGNAL) != (ssize_t)sizeof(question))
		return FP_PEER_UNKNOWN;
	return read_answer(answer.bytes, recv(peers->fd, answer.bytes, sizeof(answer.bytes), MSG_DONTWAIT));
}
