#include "pipe.h"

#include <stdlib.h>
#include <string.h>

enum {
	/* Bytes moved at events of one turn of the loop; what comes after that waits in its party's lane, unless it is
	 * small, as a message of somebody who waits for the answer is. */
	FP_ROUND = 512 * 1024,
	FP_SMALL = 16 * 1024,
	/* Small ones of one party in one turn: who asks on a thousand connections at once is a crowd, and the others wait in its lane. */
	FP_CROWD = 16,
	/* So often in a second bytes of one party that are not small may be moved before it is told to be busy. Not how many: on a
	 * processor that others have, few of them take as much of what is left. */
	FP_BULK = 32,
	FP_BULK_NS = 1000 * 1000 * 1000,
	/* Two kernels' buffers take a part of this from a connection that nobody reads (TCP_NOTSENT_LOWAT bounds ours). Until
	 * then little is read at a time, and the sender's window stays small. */
	FP_PROOF = 256 * 1024,
	FP_UNPROVEN_READ = 32 * 1024
};

/* What one direction has come to, if not to an end of the pipe (>= 0). */
enum { WAITS = -1, HAS_MORE = -2 };

int fp_pipes_init(struct fp_pipes *pipes, struct fp_loop *loop, uint32_t buffer_bytes, uint32_t buffers,
		  fp_counter *bytes)
{
	pipes->loop = loop;
	pipes->bytes = bytes;
	pipes->busy = NULL;
	pipes->bulk_most = FP_BULK;
	fp_list_init(&pipes->waiting);
	fp_pool_init(&pipes->pool, buffer_bytes, buffers);
	fp_party_init(&pipes->nobody);
	pipes->scratch = malloc(sizeof(*pipes->scratch) + buffer_bytes);
	return pipes->scratch ? 0 : -ENOMEM;
}

void fp_pipes_clear(struct fp_pipes *pipes)
{
	fp_pool_clear(&pipes->pool);
	free(pipes->scratch);
	pipes->scratch = NULL;
}

/* If there is a buffer, the pipe that has waited longest for one has its turn next. */
static void wake_one(struct fp_pipes *pipes)
{
	if (fp_list_empty(&pipes->waiting) || !fp_pool_has(&pipes->pool))
		return;
	struct fp_pipe *pipe = fp_container(pipes->waiting.next, struct fp_pipe, waiting);
	fp_list_remove(&pipe->waiting);
	fp_loop_queue(pipes->loop, &pipe->party->lane, &pipe->again);
}

/* A sender that cannot be looked at has no other way than a buffer. */
static struct fp_buf *take(struct fp_pipe *pipe, const struct fp_stream *sender)
{
	return fp_pool_take(&pipe->pipes->pool, pipe->party, !sender->ops->peek);
}

static void give(struct fp_pipe *pipe, struct fp_buf *buf)
{
	fp_pool_give(&pipe->pipes->pool, pipe->party, buf);
	wake_one(pipe->pipes);
}

static void drop(struct fp_pipe *pipe, struct fp_way *way)
{
	if (way->buf)
		give(pipe, way->buf);
	way->buf = NULL;
	way->offset = way->length = 0;
	way->urgent = false;
}

static int died(int side)
{
	return side == FP_CLIENT ? FP_PIPE_CLIENT_DIED : FP_PIPE_SERVER_DIED;
}

static void count(struct fp_pipe *pipe, int from, ssize_t n)
{
	struct fp_way *way = &pipe->way[from];
	struct fp_stream *sender = pipe->end[from], *receiver = pipe->end[!from];
	way->bytes += (uint64_t)n;
	fp_count(&pipe->pipes->bytes[from], (uint64_t)n);
	if (way->proven || way->bytes < FP_PROOF)
		return;
	way->proven = true;
	if (sender->ops->widen)
		sender->ops->widen(sender);
	if (receiver->ops->deepen)
		receiver->ops->deepen(receiver);
}

/* Bytes of one read. */
static size_t room_of(const struct fp_pipe *pipe, int from)
{
	uint32_t most = pipe->pipes->pool.size;
	return pipe->way[from].proven || most < FP_UNPROVEN_READ ? most : FP_UNPROVEN_READ;
}

static ssize_t offer(struct fp_stream *to, const char *data, size_t length, bool more)
{
	return to->ops->send(to, data, length, more);
}

/* One byte; among the others if the receiver knows no urgent ones. */
static ssize_t offer_urgent(struct fp_stream *to, const char *byte)
{
	return to->ops->send_urgent ? to->ops->send_urgent(to, byte) : to->ops->send(to, byte, 1, false);
}

/* No buffer is free. Bytes that can be looked at are moved without keeping any: looked at, offered, and exactly what was
 * taken is discarded. Others wait for a buffer. */
static int move_unbuffered(struct fp_pipe *pipe, int from)
{
	struct fp_pipes *pipes = pipe->pipes;
	struct fp_stream *sender = pipe->end[from], *receiver = pipe->end[!from];
	if (!sender->ops->peek) {
		if (fp_list_empty(&pipe->waiting))
			fp_list_append(&pipes->waiting, &pipe->waiting);
		return WAITS;
	}
	bool urgent = sender->urgent;
	ssize_t n = sender->ops->peek(sender, pipes->scratch->data, urgent ? 1 : room_of(pipe, from));
	if (n == -EAGAIN)
		return WAITS;
	if (n < 0)
		return died(from);
	if (n == 0) {
		pipe->way[from].eof = true;
		return HAS_MORE;
	}
	ssize_t taken = urgent ? offer_urgent(receiver, pipes->scratch->data) :
				 offer(receiver, pipes->scratch->data, (size_t)n, false);
	if (taken < 0)
		return died(!from);
	if (taken > 0 && sender->ops->discard(sender, (size_t)taken))
		return died(from);
	pipe->way[from].latest = (uint32_t)n;
	count(pipe, from, taken);
	return receiver->writable ? HAS_MORE : WAITS;
}

/* One read and one write. */
static int move(struct fp_pipe *pipe, int from)
{
	struct fp_way *way = &pipe->way[from];
	struct fp_stream *sender = pipe->end[from], *receiver = pipe->end[!from];
	struct fp_buf *buf = take(pipe, sender);
	if (!buf)
		return move_unbuffered(pipe, from);
	bool urgent = sender->urgent;
	ssize_t n = sender->ops->recv(sender, buf->data, urgent ? 1 : room_of(pipe, from));
	if (n <= 0) {
		give(pipe, buf);
		if (n == -EAGAIN)
			return WAITS;
		if (n < 0)
			return died(from);
		way->eof = true;
		return HAS_MORE;
	}
	if (!urgent)
		way->latest = (uint32_t)n;
	/* If the end is known to follow, let the last bytes wait for it, which is a matter of one more recv, and leave with
	 * it in one segment that wakes the receiver once. */
	ssize_t taken =
		urgent ? offer_urgent(receiver, buf->data) : offer(receiver, buf->data, (size_t)n, sender->ending);
	if (taken == n) {
		give(pipe, buf);
		count(pipe, from, n);
		return sender->readable ? HAS_MORE : WAITS;
	}
	way->buf = buf;
	way->offset = taken < 0 ? 0 : (uint32_t)taken;
	way->length = (uint32_t)n - way->offset;
	way->urgent = urgent;
	if (taken < 0)
		return died(!from);
	count(pipe, from, taken);
	return receiver->writable ? HAS_MORE : WAITS;
}

static int flush(struct fp_pipe *pipe, int from)
{
	struct fp_way *way = &pipe->way[from];
	struct fp_stream *receiver = pipe->end[!from];
	const char *data = way->buf->data + way->offset;
	ssize_t taken = way->urgent ? offer_urgent(receiver, data) : offer(receiver, data, way->length, false);
	if (taken < 0)
		return died(!from);
	count(pipe, from, taken);
	way->offset += (uint32_t)taken;
	way->length -= (uint32_t)taken;
	if (way->length)
		return receiver->writable ? HAS_MORE : WAITS;
	drop(pipe, way);
	return HAS_MORE;
}

/* The sender has ended and the receiver has all its bytes: pass the end on. */
static int finish(struct fp_pipe *pipe, int from)
{
	struct fp_stream *receiver = pipe->end[!from];
	pipe->way[from].done = true;
	if (pipe->way[!from].done)
		return FP_PIPE_FINISHED; /* closing says so as well */
	if (receiver->ops->finish(receiver))
		return died(!from);
	if (pipe->halved)
		pipe->halved(pipe, (enum fp_side)from);
	return WAITS;
}

/* Until nothing can be moved, or `most` bytes were. */
static int work(struct fp_pipe *pipe, int from, uint32_t most)
{
	struct fp_way *way = &pipe->way[from];
	uint64_t before = way->bytes;
	while (!way->done && way->bytes - before < most) {
		if (way->eof) /* read only when nothing was kept */
			return finish(pipe, from);
		if (!pipe->end[!from]->writable || (!way->length && !pipe->end[from]->readable))
			return WAITS;
		int rc = way->length ? flush(pipe, from) : move(pipe, from);
		if (rc != HAS_MORE)
			return rc;
	}
	return way->done ? WAITS : HAS_MORE;
}

/* So much was moved at once: whoever has it told may want to know. */
static void weigh(struct fp_pipe *pipe, uint64_t moved)
{
	struct fp_pipes *pipes = pipe->pipes;
	struct fp_party *party = pipe->party;
	if (!pipes->busy || moved <= FP_SMALL)
		return;
	uint64_t now_ns = fp_clock_ns();
	if (now_ns - party->since_ns > FP_BULK_NS) {
		party->since_ns = now_ns;
		party->bulk = 0;
	}
	if (++party->bulk <= pipes->bulk_most)
		return;
	pipe->is_busy = true;
	fp_loop_queue(pipes->loop, &party->lane, &pipe->again);
}

/* False if that ended the pipe, which then may be gone. */
static bool run(struct fp_pipe *pipe, int from, uint32_t most)
{
	uint64_t before = pipe->way[from].bytes;
	int rc = work(pipe, from, most);
	if (rc >= 0) {
		fp_pipe_stop(pipe);
		pipe->ended(pipe, (enum fp_pipe_end)rc);
		return false;
	}
	if (rc == HAS_MORE)
		fp_loop_queue(pipe->pipes->loop, &pipe->party->lane, &pipe->again);
	weigh(pipe, pipe->way[from].bytes - before);
	return true;
}

/* A server that is dead by now has said all that it will, which is not to be lost over an attempt to answer it. */
static int first_of(const struct fp_pipe *pipe)
{
	return pipe->end[FP_SERVER]->failed ? FP_SERVER : FP_CLIENT;
}

/* Whether enough was passed on of its party in this turn. */
static bool is_crowded(const struct fp_pipe *pipe)
{
	struct fp_party *party = pipe->party;
	if (party->turn != pipe->pipes->loop->turns)
		party->asked = 0;
	party->turn = pipe->pipes->loop->turns;
	return party->asked++ >= FP_CROWD;
}

/* Something may be moved. It is at once, if not too much was in this turn or it looks small and is not one of a crowd; else when
 * the party's lane comes to it. */
static bool turn_of(struct fp_pipe *pipe, int from)
{
	struct fp_pipes *pipes = pipe->pipes;
	struct fp_way *way = &pipe->way[from];
	if (pipes->turn != pipes->loop->turns)
		pipes->moved = 0;
	pipes->turn = pipes->loop->turns;
	bool small = way->latest <= FP_SMALL, full = pipes->moved >= FP_ROUND;
	/* What a stream that died has left is read before its death is told: now. */
	bool later = !pipe->end[from]->failed && (small ? is_crowded(pipe) : full || !fp_list_empty(&pipe->again.node));
	if (later) {
		fp_loop_queue(pipes->loop, &pipe->party->lane, &pipe->again);
		return true;
	}
	uint64_t before = way->bytes, moved;
	if (!run(pipe, from, pipe->end[from]->failed ? UINT32_MAX : full ? FP_SMALL : pipes->pool.size))
		return false;
	moved = way->bytes - before;
	pipes->moved += moved < FP_ROUND ? (uint32_t)moved : FP_ROUND;
	return true;
}

/* It may hold an error that no read has met: it died while its own bytes wait, or after its end. The peer that would
 * wait for it for ever is told now. Whether it was so; the pipe then may be gone. */
static bool end_if_failed(struct fp_pipe *pipe, int side)
{
	if (!pipe->end[side]->failed)
		return false;
	fp_pipe_stop(pipe);
	pipe->ended(pipe, (enum fp_pipe_end)died(side));
	return true;
}

/* Bytes of one side in one turn of the lane: all that one has left that died. */
static uint32_t most_of(const struct fp_pipe *pipe, int from)
{
	return pipe->end[from]->failed ? UINT32_MAX : pipe->pipes->pool.size;
}

static void again(struct fp_task *task)
{
	struct fp_pipe *pipe = fp_container(task, struct fp_pipe, again);
	struct fp_pipes *pipes = pipe->pipes;
	int first = first_of(pipe);
	bool goes_on = run(pipe, first, most_of(pipe, first)) && run(pipe, !first, most_of(pipe, !first));
	wake_one(pipes); /* it may have been woken for a buffer that it did not need any more */
	if (!goes_on || end_if_failed(pipe, FP_CLIENT) || end_if_failed(pipe, FP_SERVER) || !pipe->is_busy)
		return;
	pipe->is_busy = false;
	pipes->busy(pipe);
}

static void changed(struct fp_stream *stream, bool room)
{
	struct fp_pipe *pipe = stream->user;
	int side = stream == pipe->end[FP_SERVER];
	/* A pod whose process is killed loses thousands at once: they end in its lane. */
	if (stream->failed && is_crowded(pipe)) {
		fp_loop_queue(pipe->pipes->loop, &pipe->party->lane, &pipe->again);
		return;
	}
	if (stream->readable && !turn_of(pipe, side))
		return;
	if (room && !turn_of(pipe, !side))
		return;
	(void)end_if_failed(pipe, side);
}

void fp_pipe_start(struct fp_pipe *pipe, struct fp_pipes *pipes, struct fp_party *party, struct fp_stream *client,
		   struct fp_stream *server, void (*halved)(struct fp_pipe *, enum fp_side),
		   void (*ended)(struct fp_pipe *, enum fp_pipe_end))
{
	*pipe = (struct fp_pipe){ .end = { client, server }, .pipes = pipes, .halved = halved, .ended = ended };
	pipe->party = party ? party : &pipes->nobody;
	fp_task_init(&pipe->again, again);
	fp_list_init(&pipe->waiting);
	fp_stream_use(client, changed, pipe);
	fp_stream_use(server, changed, pipe);
	int first = first_of(pipe);
	if (turn_of(pipe, first) && turn_of(pipe, !first))
		(void)end_if_failed(pipe, FP_SERVER);
}

bool fp_pipe_is_empty(const struct fp_pipe *pipe)
{
	return !pipe->way[FP_CLIENT].buf && !pipe->way[FP_SERVER].buf && fp_list_empty(&pipe->waiting);
}

void fp_pipe_leave(struct fp_pipe *pipe)
{
	bool has_turn = !fp_list_empty(&pipe->again.node); /* perhaps because there was a buffer for it */
	fp_task_cancel(&pipe->again);
	if (has_turn)
		wake_one(pipe->pipes);
}

void fp_pipe_join(struct fp_pipe *pipe, struct fp_pipes *pipes, struct fp_party *party)
{
	pipe->pipes = pipes;
	pipe->party = party;
	fp_loop_queue(pipes->loop, &party->lane, &pipe->again);
}

void fp_pipe_stop(struct fp_pipe *pipe)
{
	bool woken = !fp_list_empty(&pipe->again.node);
	fp_task_cancel(&pipe->again);
	fp_list_remove(&pipe->waiting);
	drop(pipe, &pipe->way[FP_CLIENT]);
	drop(pipe, &pipe->way[FP_SERVER]);
	if (woken)
		wake_one(pipe->pipes);
}
