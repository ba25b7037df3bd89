#include "accept.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "stream_plain.h"

enum {
	FP_ACCEPT_BATCH = 8, /* at some 50 us each; then other pods have their turn */
	FP_ACCEPT_PAUSE_NS = 100 * 1000 * 1000
};

/* Descriptors have run out. Left in the queue, clients would wait for nothing; with the spare one they are told. */
static bool shed_one(struct fp_acceptor *acceptor, const struct fp_watch *watch)
{
	if (acceptor->spare_fd >= 0)
		close(acceptor->spare_fd);
	int fd = accept4(watch->source.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		fp_plain_refuse(fd);
		acceptor->shed(acceptor);
	}
	/* may fail now; the next shortage tries again */
	acceptor->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return fd >= 0;
}

/* To ask costs a seventh of an accept4() that finds nothing, which makes a socket first. */
static bool has_more(int fd)
{
	struct pollfd queue = { .fd = fd, .events = POLLIN };
	return poll(&queue, 1, 0) != 0;
}

static void accept_some(struct fp_watch *watch)
{
	struct fp_acceptor *acceptor = watch->acceptor;
	union fp_sockaddr name;
	fp_task_cancel(&watch->more);
	for (int i = 0; i < FP_ACCEPT_BATCH; i++) {
		socklen_t length = sizeof(name);
		if (i && !has_more(watch->source.fd))
			return;
		int fd = accept4(watch->source.fd, &name.sa, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			acceptor->accepted(acceptor, watch, fd, &name);
			continue;
		}
		int error = errno;
		if (error == EAGAIN)
			return;
		if ((error == EMFILE || error == ENFILE) && shed_one(acceptor, watch))
			continue;
		if (error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS) {
			fp_list_append(&acceptor->starved, &watch->starved);
			fp_timer_start(&acceptor->timers, &acceptor->pause, fp_clock_ns() + FP_ACCEPT_PAUSE_NS);
			return;
		}
		/* Anything else is an error of that one connection (accept(2)): on to the next. */
	}
	/* Edge-triggered: epoll will not mention again what is still queued. */
	fp_loop_queue(acceptor->loop, watch->lane, &watch->more);
}

/* Nothing is accepted before the pause is over: it would fail again. */
void fp_watch_look(struct fp_watch *watch)
{
	if (!watch->acceptor || watch->source.fd < 0 || !fp_list_empty(&watch->starved))
		return;
	if (fp_list_empty(&watch->acceptor->starved))
		accept_some(watch);
	else
		fp_list_append(&watch->acceptor->starved, &watch->starved);
}

static void ready(struct fp_source *source, uint32_t events)
{
	(void)events;
	fp_watch_look(fp_container(source, struct fp_watch, source));
}

static void go_on(struct fp_task *task)
{
	fp_watch_look(fp_container(task, struct fp_watch, more));
}

static void pause_over(struct fp_timer *timer, uint64_t now_ns)
{
	struct fp_acceptor *acceptor = fp_container(timer, struct fp_acceptor, pause);
	(void)now_ns;
	while (!fp_list_empty(&acceptor->starved)) {
		struct fp_watch *watch = fp_container(acceptor->starved.next, struct fp_watch, starved);
		fp_list_remove(&watch->starved);
		fp_loop_queue(acceptor->loop, watch->lane, &watch->more);
	}
}

int fp_acceptor_open(struct fp_acceptor *acceptor, struct fp_loop *loop)
{
	acceptor->loop = loop;
	fp_list_init(&acceptor->starved);
	fp_loop_add_timers(loop, &acceptor->timers);
	fp_timer_init(&acceptor->pause, pause_over);
	acceptor->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return acceptor->spare_fd < 0 ? -errno : 0;
}

void fp_acceptor_close(struct fp_acceptor *acceptor)
{
	if (acceptor->spare_fd >= 0)
		close(acceptor->spare_fd);
	acceptor->spare_fd = -1;
}

void fp_watch_init(struct fp_watch *watch, struct fp_sandbox *sandbox, struct fp_lane *lane, int listener_fd)
{
	*watch = (struct fp_watch){ .source = { .fd = listener_fd, .ready = ready }, .sandbox = sandbox, .lane = lane };
	fp_task_init(&watch->more, go_on);
	fp_list_init(&watch->starved);
}

int fp_watch_start(struct fp_watch *watch, struct fp_acceptor *acceptor)
{
	watch->acceptor = acceptor;
	/* Exclusive: a new connection wakes one worker instead of all. */
	return watch->source.fd < 0 ? 0 :
				      fp_loop_watch(acceptor->loop, &watch->source, EPOLLIN | EPOLLET | EPOLLEXCLUSIVE);
}

void fp_watch_stop(struct fp_watch *watch)
{
	fp_task_cancel(&watch->more);
	fp_list_remove(&watch->starved);
	if (watch->acceptor && watch->source.fd >= 0)
		fp_loop_unwatch(watch->acceptor->loop, &watch->source);
	watch->acceptor = NULL;
}
