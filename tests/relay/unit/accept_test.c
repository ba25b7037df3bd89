/* Listeners: more connections than one turn takes, descriptors that run out, listeners that are none. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../../agent/relay/accept.h"
#include "arrived.h"
#include "check.h"

enum { MANY = 40 }; /* more than are accepted at one go */

static struct fp_lane lane;
static struct fp_loop loop;
static struct fp_acceptor acceptor;
static struct fp_watch watch;
static union fp_sockaddr name;
static int taken[MANY], count, shed;
static int clients[MANY], connected;

static void take(struct fp_acceptor *to, struct fp_watch *from, int fd, const union fp_sockaddr *peer)
{
	CHECK(to == &acceptor && from == &watch && peer->sa.sa_family == AF_INET && count < MANY);
	taken[count++] = fd;
}

static void count_shed(struct fp_acceptor *to)
{
	CHECK(to == &acceptor);
	shed++;
}

static int listen_somewhere(void)
{
	socklen_t length = sizeof(name);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	name.in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	CHECK(fd >= 0 && bind(fd, &name.sa, sizeof(name.in)) == 0 && listen(fd, MANY) == 0);
	CHECK(getsockname(fd, &name.sa, &length) == 0);
	return fd;
}

static void dial(int n)
{
	while (n--) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		CHECK(fd >= 0 && connect(fd, &name.sa, sizeof(name.in)) == 0);
		clients[connected++] = fd;
	}
	all_arrived();
}

static void forget_all(void)
{
	while (count)
		close(taken[--count]);
	while (connected)
		close(clients[--connected]);
}

static void all_are_taken_although_epoll_speaks_once(void)
{
	dial(MANY);
	fp_loop_turn(&loop);
	CHECK(count < MANY && !fp_list_empty(&loop.lanes)); /* others have their turn between */
	while (!fp_list_empty(&loop.lanes))
		fp_loop_turn(&loop);
	CHECK(count == MANY && fp_list_empty(&loop.tasks));
	forget_all();
}

static void what_waits_can_be_looked_for(void)
{
	fp_watch_stop(&watch);
	dial(1);
	fp_watch_look(&watch); /* not watched */
	CHECK(count == 0);
	fp_watch_init(&watch, NULL, &lane, watch.source.fd);
	CHECK(fp_watch_start(&watch, &acceptor) == 0);
	fp_watch_look(&watch);
	CHECK(count == 1);
	forget_all();
}

static void a_listener_that_is_none_is_left_alone(void)
{
	struct fp_watch absent;
	fp_watch_init(&absent, NULL, &lane, -1);
	CHECK(fp_watch_start(&absent, &acceptor) == 0);
	fp_watch_look(&absent);
	CHECK(fp_list_empty(&loop.tasks) && count == 0);
	fp_watch_stop(&absent);
}

/* Without the spare descriptor nobody can even be told; a pause, and all is taken. */
static void clients_are_told_when_descriptors_run_out(void)
{
	struct rlimit before, none;
	dial(3);
	int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CHECK(next >= 0 && close(next) == 0 && getrlimit(RLIMIT_NOFILE, &before) == 0);
	none = (struct rlimit){ .rlim_cur = (rlim_t)next, .rlim_max = before.rlim_max };
	CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
	fp_loop_turn(&loop);
	CHECK(shed == 3 && count == 0 && acceptor.spare_fd >= 0);
	CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
	for (int i = 0; i < 3; i++)
		CHECK(recv(clients[i], &(char){ 0 }, 1, 0) == -1 && errno == ECONNRESET);
	forget_all();
	CHECK(fp_list_empty(&acceptor.starved) && fp_list_empty(&acceptor.pause.node));

	dial(2);
	close(acceptor.spare_fd);
	acceptor.spare_fd = -1;
	next = open("/dev/null", O_RDONLY | O_CLOEXEC);
	CHECK(next >= 0 && close(next) == 0);
	none.rlim_cur = (rlim_t)next;
	CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
	fp_loop_turn(&loop);
	CHECK(shed == 3 && count == 0);
	CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
	fp_watch_look(&watch); /* not before the pause is over */
	CHECK(count == 0 && fp_list_empty(&loop.tasks) && !fp_list_empty(&acceptor.pause.node));
	fp_loop_turn(&loop); /* sleeps until it is */
	fp_loop_turn(&loop);
	CHECK(count == 2);
	forget_all();
}

int main(void)
{
	fp_lane_init(&lane);
	CHECK(fp_loop_open(&loop) == 0);
	acceptor.accepted = take;
	acceptor.shed = count_shed;
	CHECK(fp_acceptor_open(&acceptor, &loop) == 0);
	fp_watch_init(&watch, NULL, &lane, listen_somewhere());
	CHECK(fp_watch_start(&watch, &acceptor) == 0);
	all_are_taken_although_epoll_speaks_once();
	what_waits_can_be_looked_for();
	a_listener_that_is_none_is_left_alone();
	clients_are_told_when_descriptors_run_out();
	fp_watch_stop(&watch);
	close(watch.source.fd);
	fp_acceptor_close(&acceptor);
	fp_loop_close(&loop);
	return 0;
}
