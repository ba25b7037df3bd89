#include "cni_world.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

struct cni_world world;

/* The linker sends the plugin's calls here. */
int __wrap_connect(int fd, const struct sockaddr *name, socklen_t length);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t size, int flags);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout);
int __wrap_nanosleep(const struct timespec *wanted, struct timespec *rest);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);

enum outcome { GOES_WELL, INTERRUPTED, WOULD_BLOCK, DIES, SHORT };

static enum outcome next_outcome(uint8_t byte)
{
	return byte >= SHORT ? SHORT : (enum outcome)byte;
}

static int fails(enum outcome outcome, int death)
{
	errno = outcome == INTERRUPTED ? EINTR : outcome == WOULD_BLOCK ? EAGAIN : death;
	return -1;
}

int __wrap_connect(int fd, const struct sockaddr *name, socklen_t length)
{
	enum outcome outcome = next_outcome(next_byte(&world.script));

	(void)fd;
	MUST(name && length);
	if (world.agent_away)
		return fails(DIES, ECONNREFUSED);
	return outcome == GOES_WELL || outcome == SHORT ? 0 : fails(outcome, ENOENT);
}

static void note_descriptors(const struct msghdr *message)
{
	struct cmsghdr *header = message->msg_controllen ? CMSG_FIRSTHDR(message) : NULL;

	if (!header)
		return;
	MUST(header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS);
	MUST(header->cmsg_len == CMSG_LEN(sizeof(int)));
	memcpy(&world.passed_fd, CMSG_DATA(header), sizeof(int));
	world.passed++;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
	uint8_t byte = next_byte(&world.script);
	enum outcome outcome = next_outcome(byte);
	size_t size = message->msg_iov->iov_len;

	(void)fd;
	MUST((flags & MSG_NOSIGNAL) && message->msg_iovlen == 1 && size);
	if (outcome != GOES_WELL && outcome != SHORT)
		return fails(outcome, EPIPE);
	if (outcome == SHORT && size > byte)
		size = byte;
	note_descriptors(message);
	for (size_t n = 0; n < size && world.sent_size < sizeof(world.sent); n++)
		world.sent[world.sent_size++] = ((const char *)message->msg_iov->iov_base)[n];
	return (ssize_t)size;
}

ssize_t __wrap_recv(int fd, void *data, size_t size, int flags)
{
	uint8_t byte = next_byte(&world.script);
	enum outcome outcome = next_outcome(byte);

	(void)fd;
	MUST(size && !flags);
	if (outcome != GOES_WELL && outcome != SHORT)
		return fails(outcome, ECONNRESET);
	if (outcome == SHORT && size > byte)
		size = byte;
	if (size > world.answer_left)
		size = world.answer_left;
	memcpy(data, world.answer, size);
	world.answer += size;
	world.answer_left -= size;
	return (ssize_t)size;
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout)
{
	enum outcome outcome = next_outcome(next_byte(&world.script));

	MUST(count == 1 && timeout > 0);
	if (outcome == WOULD_BLOCK) {
		world.milliseconds += timeout;
		return 0;
	}
	if (outcome == INTERRUPTED || outcome == DIES)
		return fails(outcome, ENOMEM);
	fds->revents = fds->events;
	return 1;
}

int __wrap_nanosleep(const struct timespec *wanted, struct timespec *rest)
{
	(void)rest;
	world.milliseconds += wanted->tv_sec * 1000 + wanted->tv_nsec / 1000000;
	return 0;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	(void)clock;
	now->tv_sec = world.milliseconds / 1000;
	now->tv_nsec = world.milliseconds % 1000 * 1000000;
	return 0;
}
