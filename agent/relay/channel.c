#include "channel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { FP_CHANNEL_BACKLOG = 4 };

int fp_channel_listen(const char *path, int *ret_fd)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(name.sun_path))
		return -ENAMETOOLONG;
	strcpy(name.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	unlink(path); /* of a process that had our pid and was killed */
	mode_t before = umask(0177);
	int rc = bind(fd, (struct sockaddr *)&name, sizeof(name)) || listen(fd, FP_CHANNEL_BACKLOG) ? -errno : 0;
	umask(before);
	if (rc) {
		close(fd);
		return rc;
	}
	*ret_fd = fd;
	return 0;
}

int fp_channel_accept(int listener, int *ret_fd)
{
	for (;;) {
		struct ucred peer = { 0 };
		socklen_t size = sizeof(peer);
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return -errno;
		if (!getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) && peer.uid == geteuid()) {
			*ret_fd = fd;
			return 0;
		}
		close(fd);
	}
}

/* Of a message whose control data may be truncated: every descriptor that came is in ret, or closed. */
static int collect(const struct msghdr *message, struct fp_packet *packet)
{
	int rc = message->msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? -EMSGSIZE : 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR((struct msghdr *)message, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (packet->fd_count < FP_MESSAGE_FDS) {
				packet->fds[packet->fd_count++] = fd;
			} else {
				close(fd);
				rc = -EMSGSIZE;
			}
		}
	}
	return rc;
}

int fp_channel_receive(int fd, struct fp_packet *ret_packet)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * FP_MESSAGE_FDS)];
	} control;
	struct iovec body = { .iov_base = ret_packet->bytes, .iov_len = sizeof(ret_packet->bytes) };
	struct msghdr message = {
		.msg_iov = &body, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return -errno;
	ret_packet->size = (size_t)n;
	ret_packet->fd_count = 0;
	for (int i = 0; i < FP_MESSAGE_FDS; i++)
		ret_packet->fds[i] = -1;
	int rc = collect(&message, ret_packet);
	if (!rc && !n)
		rc = -EPIPE;
	if (rc)
		fp_packet_close(ret_packet);
	return rc;
}

int fp_channel_send(int fd, const struct fp_packet *packet)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * FP_MESSAGE_FDS)];
	} control = { 0 };
	struct iovec body = { .iov_base = (void *)packet->bytes, .iov_len = packet->size };
	struct msghdr message = { .msg_iov = &body, .msg_iovlen = 1 };
	if (packet->fd_count) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * packet->fd_count);
		struct cmsghdr *c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * packet->fd_count);
		memcpy(CMSG_DATA(c), packet->fds, sizeof(int) * packet->fd_count);
	}
	return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

void fp_packet_close(struct fp_packet *packet)
{
	for (uint32_t i = 0; i < packet->fd_count; i++) {
		if (packet->fds[i] >= 0)
			close(packet->fds[i]);
	}
	packet->fd_count = 0;
}
