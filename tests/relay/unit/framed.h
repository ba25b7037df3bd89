/* A second kind of stream, so that nothing grows fond of sockets: it behaves as TLS over a socket would. Bytes travel in
 * records that are garbled on their way, so a read may find bytes that epoll said nothing of, and a record that is not
 * complete hides those that have come. It takes a record at a time and may have to keep the rest of it; its end is a
 * record of its own, so a transport that ends without one was cut; closed, it lives on until its last record has left.
 * It never says that an end is known to follow, and a blind one cannot look ahead. */
#ifndef FRAMED_H
#define FRAMED_H
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../../agent/relay/loop.h"
#include "../../../agent/relay/stream.h"

enum { FRAMED_HEAD = 3, FRAMED_RECORD = 700 };

struct framed {
	struct fp_stream stream;
	struct fp_source source;
	struct fp_loop *loop;
	uint8_t in[FRAMED_HEAD + FRAMED_RECORD], out[FRAMED_HEAD + FRAMED_RECORD];
	size_t in_length, out_at, out_length;
	size_t clear_at, clear_length; /* of in: bytes in clear that nobody has received yet */
	uint8_t in_key, out_key;
	bool in_ended, finishing, out_ended, orphan;
};

static int framed_alive;

static inline void framed_free(struct framed *framed)
{
	fp_loop_forget(framed->loop, &framed->source);
	close(framed->source.fd);
	free(framed);
	framed_alive--;
}

static inline void framed_garble(uint8_t *data, size_t length, uint8_t *key)
{
	for (size_t i = 0; i < length; i++)
		data[i] ^= (*key)++;
}

/* 1: a record is complete; 0: not yet; a negative errno: the stream is dead. */
static inline int framed_fill(struct framed *framed)
{
	for (;;) {
		size_t wanted = FRAMED_HEAD;
		if (framed->in_length >= FRAMED_HEAD)
			wanted += (size_t)framed->in[1] << 8 | framed->in[2];
		if (framed->in_length == wanted) {
			framed->in_ended = wanted == FRAMED_HEAD;
			return 1;
		}
		ssize_t n = recv(framed->source.fd, framed->in + framed->in_length, wanted - framed->in_length, 0);
		if (n == 0)
			return -ECONNRESET; /* cut: its end would have been a record */
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		framed->in_length += (size_t)n;
	}
}

/* How many bytes are in clear; 0 at the end, or a negative errno. */
static inline ssize_t framed_clear(struct framed *framed)
{
	if (!framed->clear_length && !framed->in_ended) {
		int rc = framed_fill(framed);
		if (rc == 0)
			framed->stream.readable = false;
		if (rc <= 0)
			return rc ? rc : -EAGAIN;
		framed->clear_at = FRAMED_HEAD;
		framed->clear_length = framed->in_length - FRAMED_HEAD;
		framed_garble(framed->in + FRAMED_HEAD, framed->clear_length, &framed->in_key);
		framed->in_length = 0;
	}
	return (ssize_t)framed->clear_length;
}

static inline ssize_t framed_peek(struct fp_stream *stream, void *data, size_t room)
{
	struct framed *framed = fp_container(stream, struct framed, stream);
	ssize_t n = framed_clear(framed);
	if (n > (ssize_t)room)
		n = (ssize_t)room;
	if (n > 0)
		memcpy(data, framed->in + framed->clear_at, (size_t)n);
	return n;
}

static inline int framed_discard(struct fp_stream *stream, size_t length)
{
	struct framed *framed = fp_container(stream, struct framed, stream);
	framed->clear_at += length;
	framed->clear_length -= length;
	return 0;
}

static inline ssize_t framed_recv(struct fp_stream *stream, void *data, size_t room)
{
	ssize_t n = framed_peek(stream, data, room);
	if (n > 0)
		framed_discard(stream, (size_t)n);
	return n;
}

static inline void framed_record(struct framed *framed, const void *data, size_t length)
{
	framed->out[0] = 23;
	framed->out[1] = (uint8_t)(length >> 8);
	framed->out[2] = (uint8_t)length;
	if (length)
		memcpy(framed->out + FRAMED_HEAD, data, length);
	framed_garble(framed->out + FRAMED_HEAD, length, &framed->out_key);
	framed->out_at = 0;
	framed->out_length = FRAMED_HEAD + length;
}

/* Send what is kept, then the end if it is time. A negative errno if the stream is dead. */
static inline int framed_pump(struct framed *framed)
{
	for (;;) {
		while (framed->out_length) {
			ssize_t n =
				send(framed->source.fd, framed->out + framed->out_at, framed->out_length, MSG_NOSIGNAL);
			if (n < 0)
				return errno == EAGAIN ? 0 : -errno;
			framed->out_at += (size_t)n;
			framed->out_length -= (size_t)n;
		}
		if (!framed->finishing || framed->out_ended)
			return 0;
		framed_record(framed, NULL, 0);
		framed->out_ended = true;
	}
}

static inline ssize_t framed_send(struct fp_stream *stream, const void *data, size_t length, bool more)
{
	struct framed *framed = fp_container(stream, struct framed, stream);
	size_t taken = length < FRAMED_RECORD ? length : FRAMED_RECORD;
	int rc = framed_pump(framed);
	(void)more;
	if (!rc && framed->out_length)
		taken = 0;
	else if (!rc) {
		framed_record(framed, data, taken);
		rc = framed_pump(framed);
	}
	stream->writable = !framed->out_length;
	return rc ? rc : (ssize_t)taken;
}

static inline int framed_finish(struct fp_stream *stream)
{
	struct framed *framed = fp_container(stream, struct framed, stream);
	framed->finishing = true;
	return framed_pump(framed);
}

static inline int framed_error(struct fp_stream *stream)
{
	(void)stream;
	return ECONNREFUSED;
}

static inline void framed_close(struct fp_stream *stream, enum fp_stream_end end)
{
	struct framed *framed = fp_container(stream, struct framed, stream);
	if (end == FP_STREAM_RESET || framed_finish(stream) || !framed->out_length)
		framed_free(framed);
	else
		framed->orphan = true;
}

static inline void framed_ready(struct fp_source *source, uint32_t events)
{
	struct framed *framed = fp_container(source, struct framed, source);
	struct fp_stream *stream = &framed->stream;
	bool room = false;
	if (framed_pump(framed) || (events & EPOLLERR))
		stream->failed = true;
	if (framed->orphan) {
		if (stream->failed || !framed->out_length)
			framed_free(framed);
		return;
	}
	if (!framed->out_length && !stream->writable && !stream->failed)
		stream->writable = room = true;
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP))
		stream->readable = true;
	stream->changed(stream, room);
}

/* connected: else it is open with its first event. Without memory or descriptors the test ends. */
static inline struct fp_stream *framed_open(struct fp_loop *loop, int fd, bool connected, bool blind)
{
	static const struct fp_stream_ops seeing = {
		.recv = framed_recv, .send = framed_send, .finish = framed_finish, .error = framed_error,
		.close = framed_close, .peek = framed_peek, .discard = framed_discard,
	}, unseeing = {
		.recv = framed_recv, .send = framed_send, .finish = framed_finish, .error = framed_error,
		.close = framed_close,
	};
	struct framed *framed = calloc(1, sizeof(*framed));
	if (!framed)
		abort();
	framed->stream = (struct fp_stream){ .ops = blind ? &unseeing : &seeing, .writable = connected };
	framed->source = (struct fp_source){ .fd = fd, .ready = framed_ready };
	framed->loop = loop;
	if (fp_loop_watch(loop, &framed->source, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET))
		abort();
	framed_alive++;
	return &framed->stream;
}
#endif
