/* One connection of the control socket: packets with descriptors, never more than fits, never a descriptor left behind. */
#ifndef FP_CHANNEL_H
#define FP_CHANNEL_H
#include "fastpath.h"

#include "base.h"

/* A packet with its descriptors. Whoever takes one out of fds puts -1 in its place. */
struct fp_packet {
	size_t size;
	uint32_t fd_count;
	int fds[FP_MESSAGE_FDS];
	_Alignas(8) char bytes[FP_MESSAGE_MAX];
};

/* Non-blocking, mode 0600. -EADDRINUSE is impossible: what lies at the path is removed before. */
fp_must_check int fp_channel_listen(const char *path, int *ret_fd);
/* The next connection of a process of our own user; others are closed. -EAGAIN: there is none. */
fp_must_check int fp_channel_accept(int listener, int *ret_fd);
/* 0, -EAGAIN, -EPIPE when the other side has closed, -EMSGSIZE for a packet or descriptors beyond the bounds. */
fp_must_check int fp_channel_receive(int fd, struct fp_packet *ret_packet);
/* 0 or a negative errno; never waits. The descriptors stay the caller's. */
fp_must_check int fp_channel_send(int fd, const struct fp_packet *packet);
void fp_packet_close(struct fp_packet *packet);
#endif
