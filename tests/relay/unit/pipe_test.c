/* Pipes between streams of both kinds: what a pipe may assume of a stream is in stream.h, and nothing else is true of
 * framed.h. Real sockets, no worker. */
#include <fcntl.h>
#include <poll.h>

#include "../../../agent/relay/pipe.h"
#include "../../../agent/relay/stream_plain.h"
#include "check.h"
#include "framed.h"

enum { BUFFER = 4096 };

static struct fp_loop loop;
static struct fp_plains plains;
static struct fp_pipes pipes;
static fp_counter bytes[2];

struct joint {
	struct fp_pipe pipe;
	int peer[2]; /* what is behind each stream; -1 = another joint */
	int ended;   /* enum fp_pipe_end + 1 */
};

static void nothing(struct fp_task *task)
{
	(void)task;
}

/* Until nothing happens any more. */
static void settle(void)
{
	struct pollfd events = { .fd = loop.epoll_fd, .events = POLLIN };
	while (!fp_list_empty(&loop.tasks) || !fp_list_empty(&loop.lanes) || poll(&events, 1, 0) > 0) {
		struct fp_task task; /* so that it does not sleep on an event that was taken back */
		fp_task_init(&task, nothing);
		fp_loop_defer(&loop, &task);
		fp_loop_turn(&loop);
	}
}

static void ended(struct fp_pipe *pipe, enum fp_pipe_end how)
{
	struct joint *joint = fp_container(pipe, struct joint, pipe);
	CHECK(!joint->ended);
	joint->ended = (int)how + 1;
	for (int i = 0; i < 2; i++)
		pipe->end[i]->ops->close(pipe->end[i], how == FP_PIPE_FINISHED ? FP_STREAM_ORDERLY : FP_STREAM_RESET);
}

static void pair(int fds[2])
{
	int size = 4608;
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	for (int i = 0; i < 2; i++)
		CHECK(setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) == 0);
}

static struct fp_stream *plain(int *ret_peer)
{
	struct fp_stream *stream;
	int fds[2];
	pair(fds);
	CHECK(fp_plain_open(&plains, fds[1], true, &stream) == 0);
	*ret_peer = fds[0];
	return stream;
}

static void join(struct joint *joint, struct fp_pipes *of, struct fp_stream *client, struct fp_stream *server)
{
	joint->ended = 0;
	fp_pipe_start(&joint->pipe, of, NULL, client, server, NULL, ended);
}

/* client's peer - plain | blind - tunnel - blind | plain - server's peer: as two nodes would. */
static void open_tunnel(struct joint *near, struct joint *far)
{
	int fds[2];
	pair(fds);
	join(near, &pipes, plain(&near->peer[FP_CLIENT]), framed_open(&loop, fds[0], true, true));
	join(far, &pipes, framed_open(&loop, fds[1], true, true), plain(&far->peer[FP_SERVER]));
	settle();
}

static size_t fill(int fd, char what)
{
	char data[1000];
	size_t total = 0;
	ssize_t n;
	memset(data, what, sizeof(data));
	do {
		while ((n = send(fd, data, sizeof(data), MSG_NOSIGNAL)) > 0)
			total += (size_t)n;
		settle();
	} while ((n = send(fd, data, 1, MSG_NOSIGNAL)) > 0 && ++total);
	return total;
}

/* Read what comes; every byte must be `what`. Returns how many; the end is left for has_ended(). */
static size_t drain(int fd, char what)
{
	char data[5000];
	size_t total = 0;
	ssize_t n;
	for (;;) {
		settle();
		n = recv(fd, data, sizeof(data), 0);
		if (n <= 0)
			return total;
		for (ssize_t i = 0; i < n; i++)
			CHECK(data[i] == what);
		total += (size_t)n;
	}
}

static bool has_ended(int fd)
{
	char byte;
	settle();
	return recv(fd, &byte, 1, MSG_PEEK) == 0;
}

static void open_pipes(uint32_t buffers)
{
	CHECK(fp_pipes_init(&pipes, &loop, BUFFER, buffers, bytes) == 0);
}

static void close_pipes(void)
{
	settle();
	CHECK(pipes.pool.made == pipes.pool.free_count); /* every buffer came back */
	CHECK(fp_list_empty(&pipes.waiting) && framed_alive == 0);
	fp_pipes_clear(&pipes);
}

/* A stream that hides bytes in user space, takes a little at a time and ends by a message is a stream like any other. */
static void a_tunnel_is_transparent(void)
{
	struct joint near, far;
	open_pipes(8);
	open_tunnel(&near, &far);
	size_t sent = fill(near.peer[FP_CLIENT], 'c'), back = fill(far.peer[FP_SERVER], 's');
	CHECK(sent > BUFFER && back > BUFFER); /* it was held back, both ways */
	CHECK(shutdown(near.peer[FP_CLIENT], SHUT_WR) == 0);
	CHECK(drain(far.peer[FP_SERVER], 'c') == sent && has_ended(far.peer[FP_SERVER]));
	CHECK(drain(near.peer[FP_CLIENT], 's') == back && !has_ended(near.peer[FP_CLIENT])); /* half-closed */
	back = fill(far.peer[FP_SERVER], 'S');
	CHECK(drain(near.peer[FP_CLIENT], 'S') == back);
	CHECK(!near.ended && !far.ended);
	CHECK(shutdown(far.peer[FP_SERVER], SHUT_WR) == 0 && has_ended(near.peer[FP_CLIENT]));
	CHECK(near.ended == FP_PIPE_FINISHED + 1 && far.ended == FP_PIPE_FINISHED + 1);
	CHECK(atomic_load(&bytes[FP_CLIENT]) == 2 * sent);
	close(near.peer[FP_CLIENT]);
	close(far.peer[FP_SERVER]);
	close_pipes();
}

/* Both ends at once: what the tunnel still keeps leaves after its user is gone. */
static void the_last_bytes_leave_after_an_orderly_end(void)
{
	struct joint near, far;
	open_pipes(8);
	open_tunnel(&near, &far);
	CHECK(shutdown(far.peer[FP_SERVER], SHUT_WR) == 0);
	settle();
	size_t sent = fill(near.peer[FP_CLIENT], 'c');
	CHECK(shutdown(near.peer[FP_CLIENT], SHUT_WR) == 0);
	CHECK(drain(far.peer[FP_SERVER], 'c') == sent && has_ended(far.peer[FP_SERVER]));
	CHECK(near.ended == FP_PIPE_FINISHED + 1 && far.ended == FP_PIPE_FINISHED + 1);
	close(near.peer[FP_CLIENT]);
	close(far.peer[FP_SERVER]);
	close_pipes();
}

/* A death is no end: it comes out as one on the other side, from either side, with bytes kept or not. */
static void a_death_goes_through(void)
{
	for (int who = 0; who < 2; who++) {
		for (int kept = 0; kept < 2; kept++) {
			struct joint near, far;
			open_pipes(8);
			open_tunnel(&near, &far);
			int dying = who ? far.peer[FP_SERVER] : near.peer[FP_CLIENT];
			int other = who ? near.peer[FP_CLIENT] : far.peer[FP_SERVER];
			fill(other, 'x'); /* unread, so that closing is a reset to a unix socket */
			if (kept)
				fill(dying, 'y');
			close(dying);
			settle();
			CHECK(near.ended == (who ? FP_PIPE_SERVER_DIED : FP_PIPE_CLIENT_DIED) + 1);
			CHECK(far.ended == near.ended);
			close(other);
			close_pipes();
		}
	}
}

/* A slow reader holds the only buffer. Whose sender cannot be looked at waits for it, first come first served, and one
 * that goes away when it is its turn does not take the turn along. */
static void the_blind_wait_for_a_buffer(bool first_goes_away)
{
	struct joint holder, waiter[3];
	open_pipes(1);
	join(&holder, &pipes, plain(&holder.peer[0]), plain(&holder.peer[1]));
	fill(holder.peer[0], 'h');
	CHECK(!fp_pool_has(&pipes.pool));
	for (int i = 0; i < 3; i++) {
		/* the first byte's key is 0 */
		const uint8_t record[FRAMED_HEAD + 1] = { 23, 0, 1, (uint8_t)('0' + i) };
		int fds[2];
		pair(fds);
		join(&waiter[i], &pipes, framed_open(&loop, fds[0], true, true), plain(&waiter[i].peer[FP_SERVER]));
		waiter[i].peer[FP_CLIENT] = fds[1];
		CHECK(send(fds[1], record, sizeof(record), 0) == sizeof(record));
		CHECK(drain(waiter[i].peer[FP_SERVER], 0) == 0);
	}
	fp_pipe_stop(&holder.pipe);
	if (first_goes_away)
		fp_pipe_stop(&waiter[0].pipe);
	for (int i = first_goes_away; i < 3; i++)
		CHECK(drain(waiter[i].peer[FP_SERVER], (char)('0' + i)) == 1);
	for (int i = 0; i < 3; i++) {
		fp_pipe_stop(&waiter[i].pipe);
		ended(&waiter[i].pipe, FP_PIPE_CLIENT_DIED);
		close(waiter[i].peer[FP_CLIENT]);
		close(waiter[i].peer[FP_SERVER]);
	}
	ended(&holder.pipe, FP_PIPE_CLIENT_DIED);
	close(holder.peer[0]);
	close(holder.peer[1]);
	close_pipes();
}

/* A sender of "a", then an urgent "B", then "c"; a receiver that is full when it is offered the urgent one. */
static char heard[8];
static int said;
static bool full;

static ssize_t say(struct fp_stream *stream, void *data, size_t room)
{
	if (said == 3)
		stream->readable = false;
	if (said == 3)
		return -EAGAIN;
	CHECK(room == 1 || said != 1); /* the urgent one is asked for alone */
	*(char *)data = "aBc"[said++];
	stream->urgent = said == 1;
	return 1;
}

static ssize_t hear(struct fp_stream *stream, const void *data, size_t length, bool more)
{
	(void)more;
	(void)stream;
	CHECK(length == 1);
	heard[strlen(heard)] = *(const char *)data;
	return 1;
}

static ssize_t hear_urgent(struct fp_stream *stream, const void *byte)
{
	stream->writable = !full;
	if (full)
		return 0;
	strcat(heard, "!");
	return hear(stream, byte, 1, false);
}

static void an_urgent_byte_that_has_to_wait_stays_urgent(void)
{
	static const struct fp_stream_ops saying = { .recv = say },
					  hearing = { .send = hear, .send_urgent = hear_urgent };
	struct fp_stream sender = { .ops = &saying, .readable = true },
			 receiver = { .ops = &hearing, .writable = true };
	struct joint joint;
	open_pipes(2);
	full = true;
	join(&joint, &pipes, &sender, &receiver);
	settle();
	CHECK(strcmp(heard, "a") == 0);
	full = false;
	receiver.writable = true;
	receiver.changed(&receiver, true);
	settle();
	CHECK(strcmp(heard, "a!Bc") == 0);
	fp_pipe_stop(&joint.pipe);
	close_pipes();
}

int main(void)
{
	CHECK(fp_loop_open(&loop) == 0);
	fp_plains_init(&plains, &loop);
	a_tunnel_is_transparent();
	the_last_bytes_leave_after_an_orderly_end();
	a_death_goes_through();
	the_blind_wait_for_a_buffer(false);
	the_blind_wait_for_a_buffer(true);
	an_urgent_byte_that_has_to_wait_stays_urgent();
	fp_plains_clear(&plains);
	fp_loop_close(&loop);
	return 0;
}
