#include "wire.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

long long cni_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits until fd can be read or written. Returns 0, or -1 with errno set (ETIMEDOUT when time is up). */
static int wait_for(int fd, short events, long long deadline)
{
	struct pollfd poller = { .fd = fd, .events = events };

	for (;;) {
		long long left = deadline - cni_now();
		int ready;

		if (left <= 0) {
			errno = ETIMEDOUT;
			return -1;
		}
		ready = poll(&poller, 1, left > 60000 ? 60000 : (int)left);
		if (ready > 0)
			return 0;
		if (ready < 0 && errno != EINTR)
			return -1;
	}
}

static int open_socket(const char *path, long long deadline)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	/* On a unix socket EAGAIN means that the listener's queue is full; there is nothing to poll for. */
	while (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		struct timespec pause = { .tv_nsec = 20 * 1000 * 1000 };

		if ((errno != EAGAIN && errno != EINTR) || cni_now() >= deadline) {
			close(fd);
			return -1;
		}
		nanosleep(&pause, NULL);
	}
	return fd;
}

/* The descriptor travels with the first byte. */
static int send_all(int fd, const char *data, size_t size, int passed, long long deadline)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr header; /* for its alignment */
	} control = { .bytes = { 0 } };

	while (size) {
		struct iovec part = { .iov_base = (void *)data, .iov_len = size };
		struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
		ssize_t sent;

		if (passed >= 0) {
			struct cmsghdr *header;

			message.msg_control = control.bytes;
			message.msg_controllen = sizeof(control.bytes);
			header = CMSG_FIRSTHDR(&message);
			header->cmsg_level = SOL_SOCKET;
			header->cmsg_type = SCM_RIGHTS;
			header->cmsg_len = CMSG_LEN(sizeof(int));
			memcpy(CMSG_DATA(header), &passed, sizeof(int));
		}
		sent = sendmsg(fd, &message, MSG_NOSIGNAL);
		if (sent < 0) {
			if (errno == EINTR)
				continue;
			if (errno != EAGAIN || wait_for(fd, POLLOUT, deadline) < 0)
				return -1;
			continue;
		}
		data += sent;
		size -= (size_t)sent;
		passed = -1;
	}
	return 0;
}

/* Reads up to a newline into a new buffer, without it. errno 0 means that the agent closed the connection before it. */
static char *receive_line(int fd, long long deadline, size_t *ret_size)
{
	size_t have = 0, room = 4096;
	char *line = malloc(room);

	while (line) {
		ssize_t got = recv(fd, line + have, room - have, 0);
		char *end;

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EAGAIN && wait_for(fd, POLLIN, deadline) == 0)
			continue;
		if (got <= 0) {
			if (got == 0)
				errno = 0;
			break;
		}
		end = memchr(line + have, '\n', (size_t)got);
		have += (size_t)got;
		if (end) {
			*ret_size = (size_t)(end - line);
			return line;
		}
		if (have == room) {
			char *bigger;

			if (room >= CNI_MAX_BYTES) {
				errno = EMSGSIZE;
				break;
			}
			room *= 2;
			bigger = realloc(line, room);
			if (!bigger)
				break;
			line = bigger;
		}
	}
	free(line);
	return NULL;
}

int cni_exchange(const char *socket_path, const json_t *request, int netns_fd, long long deadline, json_t **ret_answer,
		 char *why, size_t why_size)
{
	char *out = json_dumps(request, JSON_COMPACT), *line = NULL;
	size_t size = out ? strlen(out) : 0;
	json_t *answer = NULL;
	int fd;

	if (!out) {
		snprintf(why, why_size, "out of memory");
		return -1;
	}
	out[size++] = '\n'; /* takes the place of the terminator */
	fd = open_socket(socket_path, deadline);
	if (fd < 0) {
		snprintf(why, why_size, "no agent at %.200s: %s", socket_path, strerror(errno));
	} else if (send_all(fd, out, size, netns_fd, deadline) < 0) {
		snprintf(why, why_size, "the agent does not take the request: %s", strerror(errno));
	} else {
		line = receive_line(fd, deadline, &size);
		if (!line)
			snprintf(why, why_size, "no answer from the agent: %s",
				 errno ? strerror(errno) : "it closed the connection");
		else
			answer = json_loadb(line, size, JSON_REJECT_DUPLICATES, NULL);
		if (line && json_integer_value(json_object_get(answer, "protocol")) != CNI_PROTOCOL) {
			snprintf(why, why_size, "the agent's answer is not a JSON object of protocol %d", CNI_PROTOCOL);
			json_decref(answer);
			answer = NULL;
		}
	}
	if (fd >= 0)
		close(fd);
	free(line);
	free(out);
	*ret_answer = answer;
	return answer ? 0 : -1;
}
