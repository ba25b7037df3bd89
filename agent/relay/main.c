/* tidegate-relay DIRECTORY: the L4 data plane of a node as a process that outlives its agent.
 *
 * Listens on DIRECTORY/PID.sock and does what is asked there (relay_abi.h). SIGTERM and SIGINT reset what lives and end
 * it; the end of an agent does not concern it. Exit status: 0 told to end, or drained; 1 cannot start (says why). */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "control.h"
#include "privilege.h"

enum {
	PEERS = 8,
	LOOK_MS = 100,     /* how often a draining relay looks whether it is over */
	ALONE_LOOKS = 6000 /* so long nobody came for the last events: ten minutes */
};

/* The poll set: first these, then the peers. */
enum { SIGNALS, LISTENER, BELL, FIRST_PEER, POLLED = FIRST_PEER + PEERS };

static struct fp_control control;
static struct fp_peer peers[PEERS];
static struct pollfd polled[POLLED];
static struct fp_packet request, answer;

static int fail(const char *what, int error)
{
	fprintf(stderr, "tidegate-relay: %s: %s\n", what, strerror(error));
	return 1;
}

static void hang_up(int i)
{
	fp_control_left(&control, &peers[i]);
	close(polled[FIRST_PEER + i].fd);
	polled[FIRST_PEER + i].fd = -1;
	peers[i] = (struct fp_peer){ 0 };
}

static void welcome(void)
{
	int fd;
	while (!fp_channel_accept(polled[LISTENER].fd, &fd)) {
		int i = 0;
		while (i < PEERS && polled[FIRST_PEER + i].fd >= 0)
			i++;
		if (i == PEERS) {
			close(fd);
			continue;
		}
		polled[FIRST_PEER + i] = (struct pollfd){ .fd = fd, .events = POLLIN };
	}
}

/* An answer that does not fit into the socket's buffer is one that the peer does not read: it gets no second one. */
static void serve(int i)
{
	int fd = polled[FIRST_PEER + i].fd;
	int rc = fp_channel_receive(fd, &request);
	if (rc == -EAGAIN)
		return;
	enum fp_verdict verdict = FP_HANG_UP;
	if (!rc) {
		verdict = fp_control_ask(&control, &peers[i], &request, &answer);
		fp_packet_close(&request);
	}
	if (verdict == FP_ANSWER) {
		rc = fp_channel_send(fd, &answer);
		fp_packet_close(&answer);
	}
	if (rc || verdict == FP_HANG_UP)
		hang_up(i);
}

static void report(void)
{
	while (fp_control_events(&control, &answer)) {
		int i = (int)(control.follower - peers);
		if (fp_channel_send(polled[FIRST_PEER + i].fd, &answer))
			hang_up(i); /* they are kept for whoever follows next */
	}
}

/* Whether a draining relay may go: nothing lives, and its events were taken or nobody will come for them. */
static bool may_go(void)
{
	static int looks;
	uint32_t events;
	if (!fp_control_is_over(&control, &events))
		return false;
	if (!events)
		return true;
	if (control.follower || ++looks < ALONE_LOOKS)
		return false;
	fprintf(stderr, "tidegate-relay: drained; nobody came for %u events or more\n", events);
	return true;
}

static void run(void)
{
	while (!control.stopping && !(control.draining && may_go())) {
		polled[BELL].fd = fp_control_wants_events(&control) ? fp_event_fd(control.engine) : -1;
		polled[BELL].events = POLLIN;
		if (poll(polled, POLLED, control.draining ? LOOK_MS : -1) < 0 && errno != EINTR)
			abort();
		if (polled[SIGNALS].revents)
			return;
		for (int i = 0; i < PEERS; i++) {
			if (polled[FIRST_PEER + i].fd >= 0 && polled[FIRST_PEER + i].revents)
				serve(i);
		}
		if (polled[LISTENER].revents)
			welcome();
		report();
	}
}

static void confine(void)
{
	struct rlimit files;
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max; /* a connection takes two */
		setrlimit(RLIMIT_NOFILE, &files);
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		abort();
	fp_keep_setns_only(); /* before there is another thread: workers get no more than this one keeps */
}

static int block_signals(void)
{
	sigset_t ours;
	sigemptyset(&ours);
	sigaddset(&ours, SIGTERM);
	sigaddset(&ours, SIGINT);
	if (sigprocmask(SIG_BLOCK, &ours, NULL))
		return -1;
	return signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
}

int main(int argc, char **argv)
{
	static char path[4096];
	if (argc != 2) {
		fprintf(stderr, "usage: tidegate-relay DIRECTORY\n");
		return 1;
	}
	confine();
	for (int i = 0; i < POLLED; i++)
		polled[i].fd = -1;
	polled[SIGNALS] = (struct pollfd){ .fd = block_signals(), .events = POLLIN };
	if (polled[SIGNALS].fd < 0)
		return fail("signalfd", errno);
	if (snprintf(path, sizeof(path), "%s/%d.sock", argv[1], getpid()) >= (int)sizeof(path))
		return fail(argv[1], ENAMETOOLONG);
	int rc = fp_channel_listen(path, &polled[LISTENER].fd);
	if (rc)
		return fail(path, -rc);
	polled[LISTENER].events = POLLIN;
	run();
	fp_control_end(&control);
	unlink(path);
	return 0;
}
