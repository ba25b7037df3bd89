/* A stream: bytes both ways, an end each way. A TCP socket (stream_plain.c) is one; TLS over a socket and one stream of an
 * HTTP/2 connection are to be others. Whoever moves bytes knows no more of it than what is here.
 *
 * A stream has one user, who is told when something changed and sets itself up by fp_stream_use(). What the stream wants
 * of its transport (TLS may have to read in order to write) is its own business: to the user it says when a call may
 * find something to do. What holds for one kind only is a capability, which a kind that lacks it leaves out. */
#ifndef FP_STREAM_H
#define FP_STREAM_H
#include <errno.h>
#include <sys/types.h>

#include "base.h"

struct fp_loop;
struct fp_stream;

enum fp_stream_end { FP_STREAM_ORDERLY, FP_STREAM_RESET };

struct fp_stream_ops {
	/* Bytes received, at most `room`; 0: the peer has ended its direction; -EAGAIN: none yet (and `readable` is gone);
	 * any other negative errno: the stream is dead. */
	ssize_t (*recv)(struct fp_stream *stream, void *data, size_t room);
	/* Bytes taken, perhaps fewer than `length`; 0 only if it is full (and `writable` is gone); a negative errno: the
	 * stream is dead. `more`: further bytes or the end follow in the same turn, so these may wait for them. */
	ssize_t (*send)(struct fp_stream *stream, const void *data, size_t length, bool more);
	/* No more bytes will be sent. 0, or a negative errno if the stream is dead. It may still be on its way. */
	int (*finish)(struct fp_stream *stream);
	/* The errno of which it died, 0 if it did not or nobody knows. Asking may take it away. */
	int (*error)(struct fp_stream *stream);
	/* The user is done with it, and the memory is the stream's to free. ORDERLY: what was sent arrives, and its end.
	 * RESET: the peer learns that this is no orderly end. */
	void (*close)(struct fp_stream *stream, enum fp_stream_end end);

	/* Capability: one byte that the peer is to be told of as urgent (RFC 6093); else as send. NULL: it goes among the others. */
	ssize_t (*send_urgent)(struct fp_stream *stream, const void *byte);
	/* Capability: the TCP socket that it is, for what sockets only have: options, who holds the other end. Not to be read,
	 * written or closed. NULL: it is none. */
	int (*socket)(const struct fp_stream *stream);
	/* Capability: look at bytes without taking them, as recv; then throw away as many of those as the user wants
	 * (0 or a negative errno). NULL: it cannot. */
	ssize_t (*peek)(struct fp_stream *stream, void *data, size_t room);
	int (*discard)(struct fp_stream *stream, size_t length);
	/* Capability: whether bytes wait, perhaps before changed() has told of any; `readable` then says so too. NULL: it is told. */
	bool (*arrived)(struct fp_stream *stream);

	/* Capability: what the peer sends finds a reader, so more of it may wait. Until then the stream has little room. */
	void (*widen)(struct fp_stream *stream);
	/* Capability: go on in another thread's loop. First no event of this loop comes any more; then, on the thread of the
	 * other, all that can be done now is told again as if it were new. 0 or a negative errno. NULL: it stays. */
	void (*leave)(struct fp_stream *stream);
	int (*join)(struct fp_stream *stream, struct fp_loop *loop);

	/* Capability: the peer reads what it is sent, so more may wait here for its window. Until then it is little. */
	void (*deepen)(struct fp_stream *stream);
};

struct fp_stream {
	const struct fp_stream_ops *ops;
	/* `room`: it can take bytes again, or for the first time. The callback may close the stream. */
	void (*changed)(struct fp_stream *stream, bool room);
	void *user;
	bool readable; /* recv may find something; no further call of changed() announces it */
	bool writable; /* send may take something; a stream that is being opened is open with it */
	bool ending;   /* capability: what waits to be received is the last, its end follows at once */
	/* capability: the next byte is an urgent one, and whoever wants it to stay one receives it alone */
	bool urgent;
	bool failed; /* it died, perhaps before its last bytes were received; one that was being opened and is writable
			* died after it was open */
};

static inline void fp_stream_use(struct fp_stream *stream, void (*changed)(struct fp_stream *, bool), void *user)
{
	stream->changed = changed;
	stream->user = user;
}
#endif
