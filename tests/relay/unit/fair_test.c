/* Pipes of several parties: turns, buffers, what waits in sockets. Sockets of TCP, since unix ones cannot discard; no worker. */
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../../agent/relay/pipe.h"
#include "../../../agent/relay/stream_plain.h"
#include "arrived.h"
#include "check.h"

enum { LARGE = 1 << 18, MOST = 12 };

static struct fp_loop loop;
static struct fp_plains plains;
static struct fp_pipes pipes;
static fp_counter bytes[2];
static struct fp_party greedy, neighbour;

struct joint {
	struct fp_pipe pipe;
	int peer[2]; /* what is behind each stream */
};

static struct joint joints[MOST];

static void nothing(struct fp_task *task)
{
	(void)task;
}

/* A turn that does not sleep. */
static void turn(void)
{
	struct fp_task task;
	fp_task_init(&task, nothing);
	fp_loop_defer(&loop, &task);
	fp_loop_turn(&loop);
}

static void settle(void)
{
	struct pollfd events = { .fd = loop.epoll_fd, .events = POLLIN };
	do {
		turn();
		all_arrived();
	} while (!fp_list_empty(&loop.lanes) || poll(&events, 1, 0) > 0);
}

static void not_by_itself(struct fp_pipe *pipe, enum fp_pipe_end how)
{
	(void)pipe;
	(void)how;
	CHECK(!"a pipe ended");
}

/* room: bytes that the relay's end may hold to be sent; 0 = as the kernel likes. */
static struct fp_stream *plain(int *ret_peer, int room)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(name);
	struct fp_stream *stream;
	int listener = prompt_socket(), ours = prompt_socket();
	CHECK(bind(listener, (void *)&name, length) == 0 && listen(listener, 1) == 0);
	CHECK(getsockname(listener, (void *)&name, &length) == 0 && connect(ours, (void *)&name, length) == 0);
	*ret_peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	CHECK(*ret_peer >= 0 && close(listener) == 0 && fcntl(ours, F_SETFL, O_NONBLOCK) == 0);
	CHECK(!room || setsockopt(ours, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)) == 0);
	CHECK(fp_plain_open(&plains, ours, true, &stream) == 0);
	return stream;
}

static void open_joint(struct joint *joint, struct fp_party *party, int room)
{
	struct fp_stream *client = plain(&joint->peer[FP_CLIENT], room), *server = plain(&joint->peer[FP_SERVER], room);
	fp_pipe_start(&joint->pipe, &pipes, party, client, server, NULL, not_by_itself);
}

static void close_all(int count)
{
	for (int i = 0; i < count; i++) {
		fp_pipe_stop(&joints[i].pipe);
		for (int k = 0; k < 2; k++) {
			joints[i].pipe.end[k]->ops->close(joints[i].pipe.end[k], FP_STREAM_RESET);
			close(joints[i].peer[k]);
		}
	}
	settle();
	CHECK(!greedy.buffers && !neighbour.buffers && fp_list_empty(&loop.lanes));
	CHECK(pipes.pool.made == pipes.pool.free_count);
	fp_pipes_clear(&pipes);
}

static size_t drain(int fd)
{
	static char data[LARGE];
	size_t total = 0;
	ssize_t n;
	while (settle(), (n = recv(fd, data, sizeof(data), 0)) > 0)
		total += (size_t)n;
	return total;
}

static uint64_t moved(int count)
{
	uint64_t sum = 0;
	for (int i = 0; i < count; i++)
		sum += joints[i].pipe.way[FP_CLIENT].bytes;
	return sum;
}

/* Somebody who pours on many connections, and somebody who asks: once a turn has moved its part, what is asked is passed on in
 * the turn in which it is seen, and of what is poured no more than one task's worth before that. */
static void a_question_does_not_wait_for_who_pours(void)
{
	enum { POURING = 8 };
	static char data[LARGE / 4];
	struct joint *asking = &joints[POURING];
	CHECK(fp_pipes_init(&pipes, &loop, LARGE, 32, bytes) == 0);
	for (int i = 0; i <= POURING; i++)
		open_joint(&joints[i], i < POURING ? &greedy : &neighbour, 0);
	settle();
	for (int i = 0; i < POURING; i++) {
		joints[i].pipe.way[FP_CLIENT].latest = LARGE; /* known for it */
		CHECK(send(joints[i].peer[FP_CLIENT], data, sizeof(data), MSG_NOSIGNAL) == sizeof(data));
	}
	CHECK(send(asking->peer[FP_CLIENT], "?", 1, MSG_NOSIGNAL) == 1);
	pipes.turn = loop.turns + 1;
	pipes.moved = 1 << 20; /* of this turn there is nothing left */
	turn();
	CHECK(asking->pipe.way[FP_CLIENT].bytes == 1);
	CHECK(moved(POURING) <= LARGE && !fp_list_empty(&greedy.lane.tasks));
	for (int i = 0; i < POURING; i++)
		CHECK(drain(joints[i].peer[FP_SERVER]) == sizeof(data));
	close_all(POURING + 1);
}

/* Connections whose readers do not read hold two thirds of the buffers at most, so others' bytes find one. */
static void a_party_leaves_buffers_to_others(void)
{
	enum { STUCK = 12, BUFFERS = 9 };
	static const char data[4096];
	CHECK(fp_pipes_init(&pipes, &loop, 4096, BUFFERS, bytes) == 0);
	for (int i = 0; i < STUCK; i++) {
		open_joint(&joints[i], &greedy, 4608);
		int idle = 0;
		while (idle < 3) { /* what is full may have room again once the relay has read */
			idle = send(joints[i].peer[FP_CLIENT], data, sizeof(data), MSG_NOSIGNAL) > 0 ? 0 : idle + 1;
			settle();
		}
	}
	CHECK(greedy.buffers == 6 && fp_pool_has(&pipes.pool));
	close_all(STUCK);
}

static int not_sent(const struct fp_stream *stream)
{
	int bytes = 0;
	socklen_t length = sizeof(bytes);
	CHECK(getsockopt(stream->ops->socket(stream), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes, &length) == 0);
	return bytes;
}

/* Who does not read has little waiting for him; who is seen to read has more of it, and the one whose bytes he reads has not. */
static void more_waits_for_who_is_seen_to_read(void)
{
	enum { LITTLE = 16 * 1024, MORE = 64 * 1024, PIECE = 4096 };
	static const char data[PIECE];
	struct joint *joint = &joints[0];
	CHECK(fp_pipes_init(&pipes, &loop, LARGE, 4, bytes) == 0);
	open_joint(joint, &greedy, 0);
	const struct fp_stream *asks = joint->pipe.end[FP_CLIENT], *reads = joint->pipe.end[FP_SERVER];
	CHECK(!fp_plain_keep_little(asks->ops->socket(asks)) && !fp_plain_keep_little(reads->ops->socket(reads)));
	for (int i = 0; i < LARGE / PIECE; i++) {
		CHECK(not_sent(reads) == LITTLE);
		CHECK(send(joint->peer[FP_CLIENT], data, PIECE, MSG_NOSIGNAL) == PIECE);
		CHECK(drain(joint->peer[FP_SERVER]) == PIECE);
	}
	CHECK(not_sent(reads) == MORE && not_sent(asks) == LITTLE);
	close_all(1);
}

int main(void)
{
	CHECK(fp_loop_open(&loop) == 0);
	fp_plains_init(&plains, &loop);
	fp_party_init(&greedy);
	fp_party_init(&neighbour);
	a_question_does_not_wait_for_who_pours();
	a_party_leaves_buffers_to_others();
	more_waits_for_who_is_seen_to_read();
	fp_plains_clear(&plains);
	fp_loop_close(&loop);
	return 0;
}
